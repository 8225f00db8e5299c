"""The events of a stream as callers read them: the upstream's events with our ids, numbers and tokens.

An event is created once, and stored as JSON text without its number and token. These follow from its position in the
log. So an event is encoded once for any number of readers. It reads the same live, from the log, and after any number
of crashes.
https://developers.openai.com/api/reference/resources/responses/streaming-events
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.contract import responses, sse
from shared.contract.identifiers import our_names, with_our_names
from shared.contract.redaction import without_credentials
from shared.contract.synthesized_events import output_events
from shared.core import ids
from shared.core.event_log import Event
from shared.core.records import Record
from shared.core.states import Status

_KIND = re.compile(r"[a-z][a-z0-9_.]{0,99}")
_PROGRESS = {"response.queued": Status.QUEUED, "response.in_progress": Status.IN_PROGRESS}
_TERMINAL = {
    "response.completed": Status.COMPLETED,
    "response.failed": Status.FAILED,
    "response.incomplete": Status.INCOMPLETE,
    "response.cancelled": Status.CANCELLED,  # in no contract, but some upstreams send it
}
_OPENING = frozenset({"response.created", *_PROGRESS})
_OURS = frozenset({"type", "sequence_number", "continuation_token"})
# We send our own `created`. An `error` is followed by the end, which reports the same error. Keepalives break clients.
_HIDDEN = frozenset({"response.created", "error", "keepalive"})


def created_event(record: Record, base: Mapping[str, Any]) -> Event:
    """Return the event with number 0, which says that the response is accepted.

    `base` is what is known of the response object.
    """
    return _status_event("response.created", record, Status.QUEUED, {}, base)


def restart_event(record: Record, base: Mapping[str, Any]) -> Event:
    """Return the event that tells readers to discard what they have: a second `response.in_progress`."""
    return _status_event("response.in_progress", record, Status.IN_PROGRESS, {}, base)


def synthesized(record: Record, response: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return a finished output as events, for readers that the upstream's own events did not reach.

    The first event tells readers to discard what they have. `response` is the final response object.
    """
    events = [_event(one["type"], one) for one in output_events(response["output"])]
    return (restart_event(record, {**response, "output": []}), *events)


def translated(
    record: Record, base: Mapping[str, Any], sent: Mapping[str, Any], *, is_restarted: bool = False
) -> Event | None:
    """Return an upstream's event with our ids, or None for one that callers do not see.

    If `is_restarted` is true, the work was started again and readers know it. Its opening events are then left out.
    """
    kind = kind_of(sent)
    if kind is None or kind in _HIDDEN or (is_restarted and kind in _OPENING):
        return None
    given = sent.get("response")
    answer = given if isinstance(given, dict) else {}
    if kind in _PROGRESS:
        return _status_event(kind, record, _PROGRESS[kind], answer, base)
    fields = {name: value for name, value in sent.items() if name not in _OURS}
    return _event(kind, without_credentials(with_our_names(fields, our_names(record, answer))))


def is_for_callers(sent: Mapping[str, Any]) -> bool:
    """Return whether an upstream's event is about the response, and not a keepalive."""
    return kind_of(sent) not in (None, "keepalive")


def kind_of(sent: Mapping[str, Any]) -> str | None:
    """Return the type of an upstream's event, or None if it has no valid type.

    The keepalives of some gateways have none.
    """
    kind = sent.get("type")
    return kind if isinstance(kind, str) and _KIND.fullmatch(kind) else None


def status_after(sent: Mapping[str, Any]) -> Status:
    """Return the unfinished status of the work after its upstream has sent this event."""
    return Status.QUEUED if kind_of(sent) in ("response.created", "response.queued") else Status.IN_PROGRESS


def terminal_status(sent: Mapping[str, Any]) -> Status | None:
    """Return the terminal status in an upstream's event, or None if the event does not end the stream.

    The contract has no event for a cancelled response. It is a failed one whose response object says "cancelled".
    """
    status = _TERMINAL.get(kind_of(sent) or "")
    answer = sent.get("response")
    cancelled = isinstance(answer, dict) and answer.get("status") == Status.CANCELLED
    return Status.CANCELLED if status is Status.FAILED and cancelled else status


def terminal_events(status: Status, response: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return the events that end a stream, as many as `terminal_count` says.

    `response` is the final response object. A failure has two events, because Agent Framework ignores `response.failed`
    and raises at an `error`.
    """
    event = _event(f"response.{Status.FAILED if status is Status.CANCELLED else status}", {"response": response})
    if status is not Status.FAILED:
        return (event,)
    error = response["error"]
    return _event("error", {"code": error["code"], "message": error["message"], "param": None}), event


def frames(response_id: str, first: int, events: Sequence[Event], *, ends: bool = False) -> bytes:
    """Return events as server-sent events, numbered from `first`.

    If `ends` is true, the last one ends the stream: it has no continuation token and no `id:`.
    """
    rendered = []
    for number, event in enumerate(events, first):
        token = None if ends and number == first + len(events) - 1 else ids.token_for(response_id, number)
        quoted = b"null" if token is None else b'"%b"' % token.encode()
        data = b'%b,"sequence_number":%d,"continuation_token":%b}' % (event.body[:-1], number, quoted)
        rendered.append(sse.frame(_frame_name(event.kind), data, token))
    return b"".join(rendered)


def _frame_name(kind: str) -> str | None:
    """Return the `event:` field of a frame.

    An `error` gets none, because openai-node stops reading at that name.
    """
    return None if kind == "error" else kind


def _status_event(
    kind: str, record: Record, status: Status, answer: Mapping[str, Any], base: Mapping[str, Any]
) -> Event:
    shown = responses.present(record, status, answer, base, record.created_ms)
    return _event(kind, {"response": shown})


def _event(kind: str, fields: Mapping[str, Any]) -> Event:
    return Event(kind, responses.encode({"type": kind} | dict(fields)))
