"""What the events of an upstream's stream mean: which are about the response, where its end is, what it has told. Pure.

Servers of the Responses API differ from the contract in many ways. Each rule here is about a difference that was seen.
https://developers.openai.com/api/reference/resources/responses/streaming-events
https://www.openresponses.org/specification
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from shared.contract.output_items import index_in
from shared.core.states import Status

# A type is the name of a frame and the first word of a line in the event log, so it has no space and no line end.
_KIND = re.compile(r"[^\s\x00-\x20\x7f-\x9f]+")
_LONGEST = 200  # characters of a type
_KINDS = 1_024  # types whose reading is kept, because every event has one of a few
# Names of the heartbeats of transports. A provider's own event, such as `acme:ping`, is none.
_HEARTBEAT = re.compile(r"(?:response[._])?(?:keep[-_.]?alive|heart[-_.]?beat|ping|pong|noop)", re.IGNORECASE)
_OPENING = frozenset({"response.created", "response.queued", "response.in_progress"})
_ENDS = {
    "response.completed": Status.COMPLETED,
    "response.done": Status.COMPLETED,  # of the Realtime API, and of gateways
    "response.failed": Status.FAILED,
    "response.incomplete": Status.INCOMPLETE,
    "response.cancelled": Status.CANCELLED,  # in no contract, but some upstreams send it
}


# Statuses in lower case and with one underscore between words, and what other servers say in their place.
_STATUSES = {**{str(status): status for status in Status}, "canceled": Status.CANCELLED}
_SYNONYMS = {
    **dict.fromkeys(("complete", "succeeded", "success", "done", "finished"), Status.COMPLETED),
    **dict.fromkeys(("error", "errored", "expired", "timed_out", "timeout"), Status.FAILED),
    **dict.fromkeys(("pending", "waiting", "created", "scheduled", "submitted"), Status.QUEUED),
    "aborted": Status.CANCELLED,
}
_BETWEEN_WORDS = re.compile(r"[\s-]+")
_WRAPPERS = ("response", "data", "result")


def response_in(body: object) -> dict[str, Any] | None:
    """Return the response object in a JSON answer, with a status of the contract. None means that there is none.

    Some gateways put it into an envelope or a list, write the status in capitals or in words of their own, or leave it
    out. Of an object that can only be a response, an unknown status is one of unfinished work.
    """
    if isinstance(body, list):
        return response_in(body[0]) if len(body) == 1 else None
    if not isinstance(body, dict):
        return None
    is_whole = body.get("object") == "response" or "output" in body
    if not is_whole and not body.get("error"):
        for name in _WRAPPERS:
            if inner := response_in(body.get(name)):
                return inner
    status = _shown_status(body) if is_whole else _exact_status(body)
    if status is None:
        return None
    return body if body.get("status") == status else {**body, "status": str(status)}


def _exact_status(answer: Mapping[str, Any]) -> Status | None:
    said = answer.get("status")
    return Status(said) if isinstance(said, str) and said in list(Status) else None


def _shown_status(answer: Mapping[str, Any]) -> Status:
    """Return the status of an object that can only be a response. Without a word, its content shows it."""
    if word := _word(answer):
        return _STATUSES.get(word) or _SYNONYMS.get(word, Status.IN_PROGRESS)
    if answer.get("error"):
        return Status.FAILED
    has_content = any(answer.get(name) for name in ("output", "output_text", "completed_at", "usage"))
    return Status.COMPLETED if has_content else Status.IN_PROGRESS


def kind_of(sent: Mapping[str, Any]) -> str | None:
    """Return the type of an upstream's event, or None if it has no valid type.

    The keepalives of some gateways have none.
    """
    kind = sent.get("type")
    return kind if isinstance(kind, str) and len(kind) <= _LONGEST and _is_kind(kind) else None


@lru_cache(_KINDS)
def _is_kind(kind: str) -> bool:
    return _KIND.fullmatch(kind) is not None


@lru_cache(_KINDS)
def _is_heartbeat(kind: str) -> bool:
    return _HEARTBEAT.fullmatch(kind) is not None


def named(sent: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return an event with the `event:` field of its frame as its type, if it has none of its own.

    `error` counts more than a type, because some servers put the type of the error there.
    """
    told = sent.get("type")
    kind = told if isinstance(told, str) else None
    if name != "error" or kind in _ENDS:
        return dict(sent) if kind or not name else {**sent, "type": name}
    is_flat = kind not in (None, "error") and not sent.get("error")
    return {"type": "error", "error": dict(sent)} if is_flat else {**sent, "type": "error"}


def is_about_response(sent: Mapping[str, Any]) -> bool:
    """Return whether an event is a sign of the work, and not a heartbeat of the transport."""
    kind = kind_of(sent)
    return kind is not None and not _is_heartbeat(kind)


def is_opening(sent: Mapping[str, Any]) -> bool:
    """Return whether an event is about the response as a whole, before its output."""
    return kind_of(sent) in _OPENING


def status_after(sent: Mapping[str, Any]) -> Status:
    """Return the unfinished status of the work after its upstream has sent this event."""
    return Status.QUEUED if kind_of(sent) in ("response.created", "response.queued") else Status.IN_PROGRESS


def end_of(sent: Mapping[str, Any]) -> Status | None:
    """Return the status that an event ends its stream with, or None if the stream goes on.

    The status of the response decides over the type of the event: LiteLLM ends everything with `response.completed`.
    An unfinished status means that the stream is over and the work is not. An event of any other type is an end if its
    response is terminal, but for the opening ones, which some servers fill with the final object.
    """
    kind = kind_of(sent)
    if kind is None or kind in _OPENING:
        return None
    status = _status(answer_in(sent))
    if kind not in _ENDS:
        return status if status and status.is_terminal else None
    if kind == "response.failed" and not (status and status.is_terminal):
        return Status.FAILED if (answer_in(sent) or {}).get("error") else status or Status.FAILED
    return status or _ENDS[kind]


def answer_in(sent: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the response object in an event, with the event's own `error` if the object has none."""
    answer = sent.get("response")
    if not isinstance(answer, dict):
        return None
    error = sent.get("error")
    return {**answer, "error": error} if error and not answer.get("error") else answer


def _status(answer: Mapping[str, Any] | None) -> Status | None:
    return _STATUSES.get(_word(answer or {}))


def _word(answer: Mapping[str, Any]) -> str:
    """Return the status that an answer names, in lower case and with underscores, or an empty string."""
    said = answer.get("status")
    return _BETWEEN_WORDS.sub("_", said.strip().lower()) if isinstance(said, str) else ""


class Numbering:
    """The upstream's numbers of events: which events are new, and where its stream can be resumed.

    A resumed stream may begin with events that are known. Some servers number every event 0, or begin again at each
    item. From the first number on that does not grow, no number of the stream is used, and it cannot be resumed.
    """

    def __init__(self, upcoming: int) -> None:
        """Take the number that the upstream's next new event should have."""
        self.upcoming = upcoming
        self._last = -1
        self._grows = True

    def is_new(self, number: int | None) -> bool:
        """Note the number of the next event, and return whether that event is new. One without a number always is."""
        if number is None:
            return True
        self._grows &= number > self._last
        self._last = number
        if not self._grows:
            self.upcoming = 0
        elif number >= self.upcoming:
            self.upcoming = number + 1
        else:
            return False
        return True


class ItemProgress:
    """How far the items of an output are, as the events of one stream tell them."""

    def __init__(self) -> None:
        self._begun: set[int] = set()
        self._done: set[int] = set()
        self._is_answer = False
        self._is_cut = False

    def take(self, sent: Mapping[str, Any]) -> None:
        """Note an event of the stream."""
        kind, index, item = sent.get("type"), index_in(sent), sent.get("item")
        if index is None or not isinstance(item, dict):
            return
        if kind == "response.output_item.added":
            self._begun.add(index)
        elif kind == "response.output_item.done":
            self._done.add(index)
            self._is_answer |= item.get("type") != "reasoning"
            self._is_cut |= item.get("status") == Status.INCOMPLETE

    @property
    def is_open(self) -> bool:
        """Whether an item was begun and is not done."""
        return not self._begun <= self._done

    def end(self) -> Status | None:
        """Return the status of the work if its stream ends here without a terminal event, or None if it has broken off.

        OpenRouter closes some streams after the last item. So the work is done if every item that was begun is done,
        and one of them is more than a thought.
        """
        if not self._is_answer or self.is_open:
            return None
        return Status.INCOMPLETE if self._is_cut else Status.COMPLETED


class OutputBeginnings:
    """Finds where an upstream begins its output again: after a crash, Microsoft's agent server does so in one stream.

    A second `response.in_progress` says so, with the items that stay. But others send it as a heartbeat. The next item
    decides: if the output begins again, it has the place of one that was begun before, or an item stays whose end was
    never told.
    """

    def __init__(self, *, is_resumed: bool = False) -> None:
        """With `is_resumed`, the items that were told before are unknown. There is at least one."""
        self._all_below = 1 if is_resumed else 0  # every place below it was begun
        self._begun: set[int] = set()  # further places
        self._unfinished: set[int] = set()
        self._kept: list[Any] | None = None

    def take(self, sent: Mapping[str, Any]) -> list[Any] | None:
        """Note a new event of the stream.

        Returns the items that stay if the output begins again with this event, and None if it goes on.
        """
        kind, index = sent.get("type"), index_in(sent)
        if kind == "response.in_progress":
            output = (answer_in(sent) or {}).get("output")
            self._kept = output if isinstance(output, list) else []
        if index is None:
            return None
        kept, self._kept = self._kept, None
        if kind == "response.output_item.done":
            self._unfinished.discard(index)
        if kind != "response.output_item.added":
            return None
        is_again = kept is not None and (self._has_begun(index) or self._ends_unfinished(kept[:index]))
        if is_again:
            self._all_below, self._begun, self._unfinished = index, set(), set()
        self._begun.add(index)
        self._unfinished.add(index)
        return (kept or [])[:index] if is_again else None

    def _has_begun(self, index: int) -> bool:
        return index < self._all_below or index in self._begun

    def _ends_unfinished(self, kept: list[Any]) -> bool:
        done = (
            index for index, item in enumerate(kept) if isinstance(item, dict) and item.get("status") == "completed"
        )
        return not self._unfinished.isdisjoint(done)
