"""How a response ends. One way for all: the upstream's end, a cancel, a deadline, a failure of our own."""

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from shared.contract import responses, stream_events
from shared.core import blobs, event_log, response_transitions
from shared.core.alarms import Alarm
from shared.core.blobs import Oversized
from shared.core.changesets import Write
from shared.core.errors import UpstreamRefused, UpstreamUnusable
from shared.core.event_log import Event
from shared.core.records import Record
from shared.core.response_transitions import Ending
from shared.core.states import Status
from shared.runtime.ports import World
from shared.runtime.unit_of_work import decide
from shared.telemetry.logs import logger
from shared.upstreams.protocol import Step

_log = logger(__name__)

MAX_SAID = 200  # characters of what an upstream names
MAX_TOKENS = 10**12
_CODE = re.compile(r"[A-Za-z0-9_.:/-]{1,80}")

Decide = Callable[[Record], Ending]


async def end(
    world: World,
    record: Record | None,
    response_id: str,
    ending: Decide,
    held: Alarm | None = None,
    *,
    reads_request: bool = True,
    epoch: int | None = None,
) -> Record | None:
    """End a response unless it has ended; return it as it then is, None if it is gone.

    With an epoch, it is ended only while that one holds its run. The alarm that is held goes in the same transaction,
    and also where the response had ended before.
    """
    record = record or await world.store.read(response_id)
    if record and reads_request:
        record = await remembered(world, record)

    def plan(current: Record) -> Write | None:
        if current.status.is_terminal or (epoch is not None and current.epoch != epoch):
            return None
        return response_transitions.ended(current, ending(current), world.now_ms(), world.limits.retention_ms)

    return await decide(world, record, response_id, plan, held)


def by_step(step: Step, now_ms: int, *, retells: bool = False) -> Decide:
    """End as the upstream's last step says; `retells` where readers have not seen its output as events."""

    def ending(record: Record) -> Ending:
        made = _ending(record, step.status, step.answer, now_ms, upstream_id=step.upstream_id)
        if step.legacy is not None and made.status is step.status:
            made = _bequeathing(record, made, step.legacy)
        return _retold(record, made) if record.stream and (retells or record.mode == "poll") else made

    return ending


def by_failure(code: str, message: str, now_ms: int, *, stop: bool = False) -> Decide:
    """End as failed, for a reason of ours or the upstream's refusal; `stop` tells the upstream."""
    return lambda record: _ending(record, Status.FAILED, responses.failure(code, message), now_ms, stop=stop)


def by_cancel(now_ms: int) -> Decide:
    """End as cancelled, and tell the upstream."""
    return lambda record: _ending(record, Status.CANCELLED, {}, now_ms, stop=True)


def by_fault(now_ms: int) -> Decide:
    """End as failed by a fault of this service, from the record's own fields alone: nothing packed is read."""

    def ending(record: Record) -> Ending:
        bare = replace(record, body=b"")
        failure = responses.failure("internal_error", "The service failed to handle this response.")
        return _ending(bare, Status.FAILED, failure, now_ms, stop=True)

    return ending


def deadline(now_ms: int) -> Decide:
    """End as failed because the deadline has passed."""
    return by_failure("deadline_exceeded", "The response was not finished before its deadline.", now_ms, stop=True)


def unusable(error: UpstreamUnusable, now_ms: int, *, stop: bool = False) -> Decide:
    """End as failed because the upstream's answer cannot be taken."""
    return by_failure(error.code, error.message, now_ms, stop=stop)


def refused(refusal: UpstreamRefused, now_ms: int) -> Decide:
    """End as failed in the words of the upstream's refusal."""
    return by_failure(refusal.code or "upstream_refused", refusal.message, now_ms)


def in_our_words(refusal: UpstreamRefused, record: Record, request: Mapping[str, Any]) -> UpstreamRefused:
    """Return a refusal that names the previous response as its caller knows it."""
    theirs = request.get("previous_response_id")
    if theirs and record.previous:
        refusal.message = refusal.message.replace(theirs, record.previous)
    return refusal


async def remembered(world: World, record: Record) -> Record:
    """Give a record whose object is not known, or was too large to be stored beside it, what the request says of it."""
    if record.body or record.status.is_terminal:
        return record
    packed = await world.store.request(record.id)
    return echoing(record, blobs.unpack(packed)) if packed else record


def echoing(record: Record, request: Mapping[str, Any]) -> Record:
    """Give a record without an object what the request says of it."""
    return record if record.body else replace(record, body=blobs.pack(responses.echo(request)))


def known(record: Record) -> dict[str, Any]:
    """Return the object as last known, at least the model."""
    base: dict[str, Any] = {"model": record.model}
    return base | blobs.unpack(record.body) if record.body else base


def _ending(
    record: Record,
    status: Status,
    answer: dict[str, Any],
    now_ms: int,
    *,
    stop: bool = False,
    upstream_id: str | None = None,
) -> Ending:
    shown = responses.present(record, status, answer, known(record), now_ms)
    try:
        return Ending(status, blobs.pack(shown), stop, upstream_id, said=_said(shown))
    except Oversized:
        return _oversized(record, now_ms, stop, upstream_id)


def _bequeathing(record: Record, ending: Ending, legacy: Mapping[str, Any]) -> Ending:
    """Leave what a response that continues this one needs; where there is no room, this one ends well all the same."""
    try:
        packed = blobs.pack(legacy)
    except Oversized:
        packed = b""
    if not packed or len(ending.body) + len(packed) > blobs.MAX_PACKED:
        _log.warning("legacy.too_large", extra={"response": record.id})
        return ending
    return replace(ending, legacy=packed)


def _retold(record: Record, ending: Ending) -> Ending:
    """Tell the output as events, in the same transaction as the end; where it does not fit, only that it is anew."""
    response = blobs.unpack(ending.body)
    if not response["output"]:
        return ending
    told: tuple[Event, ...] = stream_events.retold(record, response)
    room = blobs.MAX_PACKED - len(ending.body)
    return replace(ending, told=next((some for some in (told, told[:1]) if _fits(some, room)), ()))


def _fits(told: tuple[Event, ...], room: int) -> bool:
    try:
        return event_log.size(event_log.rows(0, told)) <= room
    except Oversized:
        return False


def _oversized(record: Record, now_ms: int, stop: bool, upstream_id: str | None) -> Ending:
    failure = responses.failure("output_too_large", f"The output is over {blobs.MAX_PACKED} bytes, compressed.")
    shown = responses.present(record, Status.FAILED, failure, {"model": record.model}, now_ms)
    return Ending(Status.FAILED, blobs.pack(shown), stop, upstream_id, said=_said(shown))


def _said(shown: Mapping[str, Any]) -> dict[str, str | int]:
    """Return what may be told of a final object: the model that answered, what it used, the code of an error."""
    usage, error = (_fields(shown, name) for name in ("usage", "error"))
    said = {
        "response_model": _text(shown.get("model")),
        "input_tokens": _count(usage.get("input_tokens")),
        "output_tokens": _count(usage.get("output_tokens")),
        "error": _code(error.get("code")),
    }
    return {name: value for name, value in said.items() if value is not None}


def _text(value: object) -> str | None:
    return value[:MAX_SAID] if isinstance(value, str) else None


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value <= MAX_TOKENS else None


def _code(value: object) -> str | None:
    """Return the code of an error; where an upstream puts a sentence, anything could be in it."""
    text = str(value) if isinstance(value, str | int) else None
    return text if text is None or _CODE.fullmatch(text) else "_OTHER"


def _fields(shown: Mapping[str, Any], name: str) -> dict[str, Any]:
    value = shown.get(name)
    return value if isinstance(value, dict) else {}
