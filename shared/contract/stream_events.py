"""The events of a stream as callers read them: the upstream's, with our identity, numbers and tokens.

An event is made once and kept as JSON text without its number and token, which follow from its place. So it costs one
encoding however many readers it has, and reads the same live, from the log and after any number of crashes.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from shared.contract import responses, sse
from shared.contract.synthesized_events import restated
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
    "response.cancelled": Status.CANCELLED,  # in nobody's contract, and sent all the same
}
_OPENING = frozenset({"response.created", *_PROGRESS})
_OURS = frozenset({"type", "sequence_number", "continuation_token"})
# `created` is ours, an `error` is told by the end that follows it, and keepalives break clients
_HIDDEN = frozenset({"response.created", "error", "keepalive"})


def created(record: Record, base: Mapping[str, Any]) -> Event:
    """Return the event with number 0: the response is accepted."""
    return _life("response.created", record, Status.QUEUED, {}, base)


def restarted(record: Record, base: Mapping[str, Any]) -> Event:
    """Return the event that makes readers drop what they have accumulated: a second `response.in_progress`."""
    return _life("response.in_progress", record, Status.IN_PROGRESS, {}, base)


def retold(record: Record, response: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return a finished output as events, for readers whom the upstream's own could not reach."""
    told = [_event(one["type"], one) for one in restated(response["output"])]
    return (restarted(record, {**response, "output": []}), *told)


def translated(
    record: Record, base: Mapping[str, Any], sent: Mapping[str, Any], *, again: bool = False
) -> Event | None:
    """Return an upstream's event with our identity; None for one that callers do not see.

    `again` says that the work was begun anew and readers have been told so: its opening is not told twice.
    """
    kind = kind_of(sent)
    if kind is None or kind in _HIDDEN or (again and kind in _OPENING):
        return None
    if kind in _PROGRESS:
        answer = sent.get("response")
        return _life(kind, record, _PROGRESS[kind], answer if isinstance(answer, dict) else {}, base)
    return _event(kind, {name: value for name, value in sent.items() if name not in _OURS})


def is_for_callers(sent: Mapping[str, Any]) -> bool:
    """Say whether an upstream's event is one of the response, and no heartbeat."""
    return kind_of(sent) not in (None, "keepalive")


def kind_of(sent: Mapping[str, Any]) -> str | None:
    """Return the type of an upstream's event; None if it has none, as the heartbeats of some gateways."""
    kind = sent.get("type")
    return kind if isinstance(kind, str) and _KIND.fullmatch(kind) else None


def progress_of(sent: Mapping[str, Any]) -> Status:
    """Return how far work is whose upstream has sent this event."""
    return Status.QUEUED if kind_of(sent) in ("response.created", "response.queued") else Status.IN_PROGRESS


def end_of(sent: Mapping[str, Any]) -> Status | None:
    """Return the terminal status that an upstream's event tells of; None if it is not the end.

    There is no event for a cancelled response: it is a failed one whose response says so.
    """
    status = _TERMINAL.get(kind_of(sent) or "")
    answer = sent.get("response")
    cancelled = isinstance(answer, dict) and answer.get("status") == Status.CANCELLED
    return Status.CANCELLED if status is Status.FAILED and cancelled else status


def terminal(status: Status, response: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return the events that end a stream: how many there are, `terminal_count` says.

    A failure is told twice: Agent Framework is silent about `response.failed` and raises at an `error`.
    """
    told = _event(f"response.{Status.FAILED if status is Status.CANCELLED else status}", {"response": response})
    if status is not Status.FAILED:
        return (told,)
    error = response["error"]
    return _event("error", {"code": error["code"], "message": error["message"], "param": None}), told


def rendered(response_id: str, first: int, told: Sequence[Event], *, ends: bool = False) -> bytes:
    """Return events as frames, numbered from `first`; `ends` says that the last of them is the end of the stream."""
    frames = []
    for number, event in enumerate(told, first):
        token = None if ends and number == first + len(told) - 1 else ids.token_for(response_id, number)
        quoted = b"null" if token is None else b'"%b"' % token.encode()
        data = b'%b,"sequence_number":%d,"continuation_token":%b}' % (event.body[:-1], number, quoted)
        frames.append(sse.frame(_named(event.kind), data, token))
    return b"".join(frames)


def _named(kind: str) -> str | None:
    """Return what the frame's own field says: nothing for an `error`, at which openai-node would stop reading."""
    return None if kind == "error" else kind


def _life(kind: str, record: Record, status: Status, answer: Mapping[str, Any], base: Mapping[str, Any]) -> Event:
    shown = responses.present(record, status, answer, base, record.created_ms)
    return _event(kind, {"response": shown})


def _event(kind: str, fields: Mapping[str, Any]) -> Event:
    return Event(kind, responses.encode({"type": kind} | dict(fields)))
