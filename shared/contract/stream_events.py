"""The events of a stream as callers read them: the upstream's events with our ids, numbers and tokens.

An event is created once, and stored as JSON text without its number and token. These follow from its position in the
log. So an event is encoded once for any number of readers. It reads the same live, from the log, and after any number
of crashes.
https://developers.openai.com/api/reference/resources/responses/streaming-events
"""

from collections.abc import Mapping, Sequence
from typing import Any

from shared import json_text
from shared.contract import responses, sse
from shared.contract.identifiers import are_in, our_names, with_our_names
from shared.contract.redaction import without_credentials
from shared.contract.synthesized_events import output_events
from shared.contract.upstream_events import answer_in, is_about_response, kind_of
from shared.core import ids
from shared.core.event_log import Event
from shared.core.records import Record
from shared.core.states import Status, terminal_count

_PROGRESS = {"response.queued": Status.QUEUED, "response.in_progress": Status.IN_PROGRESS}
_OURS = frozenset({"type", "sequence_number", "continuation_token"})
# We send our own `created`. An `error` is followed by the end, which reports the same error.
_CANCELLED = {"code": "response_cancelled", "message": "The response was cancelled."}
_INTERRUPTED = {"code": "interrupted", "message": "The stream was cut off. Read on after the last event that you have."}
_HIDDEN = frozenset({"response.created", "error"})


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
    record: Record, base: Mapping[str, Any], sent: Mapping[str, Any], *, told: Status | None = None
) -> Event | None:
    """Return an upstream's event with our ids, or None for one that callers do not see.

    Heartbeats are left out, because they break clients. `told` is the status that the events after `created` have told,
    or None if there are none. It is not told again: a second `response.in_progress` makes readers discard what they
    have, and some upstreams send it as a heartbeat.
    """
    kind = kind_of(sent)
    if kind is None or kind in _HIDDEN or not is_about_response(sent):
        return None
    answer = answer_in(sent) or {}
    if kind not in _PROGRESS:
        fields = without_credentials({name: value for name, value in sent.items() if name not in _OURS})
        event, names = _event(kind, fields), our_names(record, answer)
        return _event(kind, with_our_names(fields, names)) if are_in(event.body, names) else event
    if told in (Status.IN_PROGRESS, _PROGRESS[kind]):
        return None
    return _status_event(kind, record, _PROGRESS[kind], answer, base)


def terminal_events(status: Status, response: Mapping[str, Any]) -> tuple[Event, ...]:
    """Return the events that end a stream, as many as `terminal_count` says.

    `response` is the final response object. A failure and a cancellation have two events, because Agent Framework
    ignores `response.failed` and raises at an `error`.
    """
    event = _event(f"response.{Status.FAILED if status is Status.CANCELLED else status}", {"response": response})
    if terminal_count(status) == 1:
        return (event,)
    error = response["error"] or _CANCELLED
    told = {"code": error["code"], "message": error["message"], "param": error.get("param")}
    return _event("error", told), event


def interruption() -> bytes:
    """Return the server-sent event that says that a stream ends here, although the response goes on.

    It has no number, so a client resumes after the event before it.
    """
    event = _event("error", {**_INTERRUPTED, "param": None})
    return sse.frame(None, event.body)


def stored_events(record: Record, events: tuple[Event, ...]) -> tuple[Event, ...]:
    """Return stored events as callers may read them. Those of an older version may have credentials, masked here."""
    if record.request.masked:
        return events
    return tuple(_event(one.kind, without_credentials(json_text.read_tolerantly(one.body))) for one in events)


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
