"""How a response ends: every reason as an outcome, and the ending that an outcome gives a record. Pure."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.contract import output_items, responses, stream_events
from shared.contract.output_items import OutputItems
from shared.core import blobs, event_log
from shared.core.blobs import Oversized
from shared.core.errors import UpstreamError, UpstreamFailed, UpstreamOversized, UpstreamRefused, UpstreamUnusable
from shared.core.event_log import Event
from shared.core.records import ExecutionMode, Record, Usage
from shared.core.states import Status
from shared.lifecycle import echoes
from shared.transitions.response_transitions import Ending
from shared.upstreams.protocol import Progress

DEADLINE_EXCEEDED = "deadline_exceeded"
MAX_NAME = 200  # characters of a model's name that are logged
MAX_TOKENS = 10**12
_CODE = re.compile(r"[A-Za-z0-9_.:/-]{1,80}")


@dataclass(frozen=True, slots=True)
class Outcome:
    """Why and how a response ends.

    `answer` is the upstream's final response object, or the part that says why it has no output. `synthesize`: the
    readers of the stream have not seen the output as events. `reads_body`: fields that the answer lacks are taken from
    the stored object. `refusal` is the status of the upstream's refusal, or 0.
    """

    status: Status
    answer: Mapping[str, Any] = field(repr=False)
    now_ms: int
    stop: bool = False  # tell the upstream to stop
    upstream_id: str | None = None
    session: Mapping[str, Any] | None = field(default=None, repr=False)
    synthesize: bool = False
    reads_body: bool = True
    refusal: int = 0


def by_progress(progress: Progress, now_ms: int, *, synthesize: bool = False) -> Outcome:
    """Return the outcome that the upstream's last progress shows."""
    return Outcome(
        progress.status,
        progress.answer,
        now_ms,
        upstream_id=progress.upstream_id,
        session=progress.session,
        synthesize=synthesize,
    )


def by_failure(
    code: str, message: str, now_ms: int, *, stop: bool = False, kind: str | None = None, param: str | None = None
) -> Outcome:
    """Return a failure with this error."""
    return Outcome(Status.FAILED, responses.failure(code, message, kind, param), now_ms, stop=stop)


def by_error(error: UpstreamError, now_ms: int) -> Outcome:
    """Return a failure with what the upstream said when it ended a start, a stream or a poll."""
    match error:
        case UpstreamRefused():
            return refused(error, now_ms)
        case UpstreamFailed():
            return by_failure(error.code, error.message, now_ms, kind=error.type, param=error.param)
        case UpstreamUnusable():
            return unusable(error, now_ms)
        case _:
            return lost("The upstream ended this response before it was complete.", now_ms)


def cancelled(now_ms: int) -> Outcome:
    """Return a cancellation, which also stops the upstream."""
    return Outcome(Status.CANCELLED, {}, now_ms, stop=True)


def internal_error(now_ms: int) -> Outcome:
    """Return a failure for a fault of this service. Nothing packed is read, because that may be what failed."""
    failure = by_failure("internal_error", "The service failed to handle this response.", now_ms, stop=True)
    return replace(failure, reads_body=False)


def deadline_exceeded(now_ms: int) -> Outcome:
    """Return a failure because the deadline has passed, which also stops the upstream."""
    return by_failure(DEADLINE_EXCEEDED, "The response was not finished before its deadline.", now_ms, stop=True)


def unusable(error: UpstreamUnusable, now_ms: int, *, stop: bool = False) -> Outcome:
    """Return a failure because the upstream's answer cannot be used."""
    return by_failure(error.code, error.message, now_ms, stop=stop)


def refused(refusal: UpstreamRefused, now_ms: int) -> Outcome:
    """Return a failure with the upstream's refusal, and its status for a POST that still waits."""
    kind = refusal.type or ("invalid_request_error" if refusal.is_for_caller else None)
    failure = by_failure(refusal.code or "upstream_refused", refusal.message, now_ms, kind=kind, param=refusal.param)
    return replace(failure, refusal=refusal.status if refusal.is_for_caller else 0)


def abandoned(error: UpstreamError, now_ms: int) -> Outcome:
    """Return a failure because the last try that may have begun work has failed, with the cause of that failure."""
    code, message = getattr(error, "code", None), getattr(error, "message", None)
    cause = (message or str(error)).rstrip(". ")
    told = f"The upstream could not be started. The last try failed: {cause}. Work may be running upstream."
    return by_failure(code or "upstream_unavailable", told, now_ms)


def removed(now_ms: int) -> Outcome:
    """Return a failure because the upstream that took the response is no longer in the settings."""
    told = "The upstream that took this response is no longer configured. Work may be running there."
    return by_failure("upstream_removed", told, now_ms)


def lost(message: str, now_ms: int) -> Outcome:
    """Return a failure because the upstream no longer has the work."""
    return by_failure("upstream_lost", message, now_ms)


def with_our_ids(
    refusal: UpstreamRefused, record: Record, request: Mapping[str, Any], credentials: frozenset[str]
) -> UpstreamRefused:
    """Return the refusal with our id of the previous response, which the caller knows, and without credentials."""
    theirs = request.get("previous_response_id")
    if theirs and record.request.previous_id:
        refusal.message = refusal.message.replace(theirs, record.request.previous_id)
    refusal.message = echoes.masked_text(refusal.message, credentials)
    for name in ("param", "code", "type"):
        if said := getattr(refusal, name):
            setattr(refusal, name, echoes.masked_text(said, credentials))
    return refusal


def lacks_output(outcome: Outcome) -> bool:
    """Return whether the answer has no items, so that those of its stream are the output. A text alone is none."""
    output = outcome.answer.get("output")
    has_some = not isinstance(output, str) and bool(output_items.items_in(outcome.answer))
    return outcome.reads_body and outcome.status is not Status.CANCELLED and not has_some


def with_items(outcome: Outcome, items: OutputItems) -> Outcome:
    """Return an outcome whose output are the items that the stream told, or else the text in their place.

    If they are too large to be kept, a failure stays without them, and any other outcome fails.
    """
    if items.is_oversized and outcome.status is not Status.FAILED:
        return unusable(UpstreamOversized(), outcome.now_ms)
    answer = outcome.answer
    output = items.items or output_items.items_in(answer) or output_items.message(answer.get("output_text"))
    return replace(outcome, answer={**outcome.answer, "output": output})


def echoing(record: Record, request: Mapping[str, Any]) -> Record:
    """Return the record with a response object, its own or else one made from the fields of the request."""
    return record if record.body else replace(record, body=blobs.pack(responses.echo(request)))


def known_object(record: Record) -> dict[str, Any]:
    """Return the response object as last known. It has at least the model."""
    base: dict[str, Any] = {"model": record.request.model}
    return base | blobs.unpack(record.body) if record.body else base


def ending_of(record: Record, outcome: Outcome) -> Ending:
    """Return how the record ends with an outcome. If the output is over 2.5 MiB when packed, it fails."""
    known = known_object(record) if outcome.reads_body else {"model": record.request.model}
    shown = responses.present(record, outcome.status, outcome.answer, known, outcome.now_ms)
    try:
        ending = _packed(outcome.status, shown, outcome)
    except Oversized:
        return _too_large(record, outcome) if outcome.status is not Status.FAILED else _bare(record, shown, outcome)
    if outcome.session is not None:
        ending = _with_session(ending, outcome.session)
    is_polled = record.run.mode is ExecutionMode.POLL
    if record.request.stream and (outcome.synthesize or is_polled):
        return _with_synthesized_events(record, ending, shown)
    return ending


def lost_session(outcome: Outcome, ending: Ending) -> bool:
    """Return whether an agent's session was left out only because there was no room for it."""
    return outcome.session is not None and not ending.session and ending.status is outcome.status


def _packed(status: Status, shown: Mapping[str, Any], outcome: Outcome) -> Ending:
    return Ending(
        status,
        blobs.pack(shown),
        outcome.stop,
        outcome.upstream_id,
        attributes=(attributes := _attributes(shown)),
        refusal=outcome.refusal,
        error=str(attributes.get("error", "")) if status is Status.FAILED else "",
        usage=usage_of(shown),
    )


def _too_large(record: Record, outcome: Outcome) -> Ending:
    message = f"The output is over {blobs.MAX_PACKED} bytes, compressed."
    failure = responses.failure("output_too_large", message)
    model = {"model": record.request.model}
    shown = responses.present(record, Status.FAILED, failure, model, outcome.now_ms)
    return _packed(Status.FAILED, shown, outcome)


def _bare(record: Record, shown: Mapping[str, Any], outcome: Outcome) -> Ending:
    """Return a failure without its output, which is too large, so that its reason is kept."""
    try:
        return _packed(outcome.status, {**shown, "output": []}, outcome)
    except Oversized:
        return _too_large(record, outcome)


def _with_session(ending: Ending, session: Mapping[str, Any]) -> Ending:
    """Add the session for a response that continues this one. If it does not fit, end without it."""
    try:
        packed = blobs.pack(session)
    except Oversized:
        return ending
    return ending if len(ending.body) + len(packed) > blobs.MAX_PACKED else replace(ending, session=packed)


def _with_synthesized_events(record: Record, ending: Ending, shown: Mapping[str, Any]) -> Ending:
    """Add the output as events, in the same transaction as the end.

    If they do not fit, add only the first one, which makes readers discard the events that they have.
    """
    if not shown["output"]:
        return ending
    events = stream_events.synthesized(record, shown)
    room = blobs.MAX_PACKED - len(ending.body)
    return replace(ending, synthesized=next((some for some in (events, events[:1]) if _fits(some, room)), ()))


def _fits(events: tuple[Event, ...], room: int) -> bool:
    try:
        return event_log.size_of(event_log.event_rows(0, events)) <= room
    except Oversized:
        return False


# Log attributes of a final object


def _attributes(shown: Mapping[str, Any]) -> dict[str, str | int]:
    """Return the model that answered, the tokens that it used, and the code of an error, as far as they are known."""
    usage, error = (_fields(shown, name) for name in ("usage", "error"))
    found = {
        "response_model": _text(shown.get("model")),
        "input_tokens": _count(usage.get("input_tokens")),
        "output_tokens": _count(usage.get("output_tokens")),
        "error": _code(error.get("code")),
    }
    return {name: value for name, value in found.items() if value is not None}


def usage_of(shown: Mapping[str, Any]) -> Usage:
    """Return the tokens that a response object says were used. What it does not say is 0."""
    usage = _fields(shown, "usage")
    read, written = (_fields(usage, f"{name}_tokens_details") for name in ("input", "output"))
    return Usage(
        _count(usage.get("input_tokens")) or 0,
        _count(read.get("cached_tokens")) or 0,
        _count(usage.get("output_tokens")) or 0,
        _count(written.get("reasoning_tokens")) or 0,
    )


def _text(value: object) -> str | None:
    return value[:MAX_NAME] if isinstance(value, str) else None


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MAX_TOKENS else None


def _code(value: object) -> str | None:
    """Return the code of an error, or `_OTHER` for a sentence. Some upstreams send one, which may contain anything."""
    text = str(value) if isinstance(value, str | int) else None
    return text if text is None or _CODE.fullmatch(text) else "_OTHER"


def _fields(shown: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = shown.get(name)
    return value if isinstance(value, dict) else {}
