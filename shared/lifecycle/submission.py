"""Accepting a response and starting it upstream.

One path for everyone: (a) insert record, request and a `start` alarm; (b) start upstream, with our id as the
idempotency key; (c) note the upstream's token and set the first poll; (d) nudge. Whoever dies on the way leaves the
alarm, and a sweep goes on from (b).
"""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from shared.contract import responses, stream_events
from shared.core import blobs, event_log, response_transitions, run_transitions
from shared.core.alarms import Alarm
from shared.core.backoff import retry_delay
from shared.core.blobs import Oversized
from shared.core.changesets import Write
from shared.core.errors import (
    BadRequest,
    Conflict,
    NotFound,
    RefusedByUpstream,
    StoreError,
    TooLarge,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnusable,
)
from shared.core.records import Record
from shared.core.states import later
from shared.lifecycle import completion, upstream_webhooks
from shared.runtime.ports import World
from shared.runtime.unit_of_work import commit, decide, rearm
from shared.telemetry import lifecycle, tracing
from shared.telemetry.logs import logger
from shared.upstreams.protocol import Step

_log = logger(__name__)
_JOIN_PAUSE_S = 0.2


async def accept(world: World, record: Record, request: dict[str, Any]) -> Record:
    """Accept a response that nobody reads as a stream now, and start it or have it started; raises as the two below."""
    if world.upstreams.of(record.model).replays and not record.stream:
        return await open_and_start(world, record, request)
    return (await open_run(world, record, request, held=False)).record


async def open_and_start(world: World, record: Record, request: dict[str, Any]) -> Record:
    """Accept a response and start it; return it as it then is. A repeat of an idempotent request joins its first.

    Raises RefusedByUpstream if the upstream judges the request wrong: then nothing is kept. Raises StoreError if
    nothing could be accepted.
    """
    packed = _packed(request)
    write = response_transitions.opened(completion.echoing(record, request), packed, world.now_ms())
    try:
        opened = await commit(world, None, write)
    except Conflict:
        joined = await join(world, record.id)
        return joined or await open_and_start(world, record, request)
    try:
        with tracing.under(opened.trace):
            return await _begin(world, opened, write.alarms_in[0], request)
    except StoreError:
        # it is accepted: the start alarm goes on from wherever this stopped
        _log.warning("start.unrecorded", extra={"response": record.id})
        return opened


@dataclass(frozen=True, slots=True)
class OpenedRun:
    """A run that was accepted; without an alarm it is not the one who opened it that holds it."""

    record: Record
    alarm: Alarm | None = None
    first_frame: bytes = field(default=b"", repr=False)


async def open_run(world: World, record: Record, request: dict[str, Any], *, held: bool) -> OpenedRun:
    """Accept a response that is driven by a run: held by the caller of this, or offered on the `runs` queue.

    A repeat of an idempotent request joins its first. Raises StoreError if nothing could be accepted.
    """
    packed, now_ms = _packed(request), world.now_ms()
    echoing = completion.echoing(record, request)
    told = (stream_events.created(record, completion.known(echoing)),) if record.stream else ()
    if len(packed) + event_log.size(event_log.rows(0, told)) > blobs.MAX_PACKED:
        raise _too_large("The request and what its stream repeats of it are")
    write = run_transitions.opened(response_transitions.opened(echoing, packed, now_ms, told), now_ms, held=held)
    try:
        opened = await commit(world, None, write)
    except Conflict:
        joined = await join(world, record.id)
        return OpenedRun(joined) if joined else await open_run(world, record, request, held=held)
    if write.grants:
        return OpenedRun(opened)
    return OpenedRun(opened, write.alarms_in[0], stream_events.rendered(record.id, 0, told))


async def _begin(world: World, record: Record, held: Alarm, request: dict[str, Any]) -> Record:
    try:
        step = await world.upstreams.of(record.model).start(request, record.id)
    except UpstreamRefused as refusal:
        return await _refuse(world, record, held, completion.in_our_words(refusal, record, request))
    except UpstreamUnusable as error:
        return await _fail(world, record, held, completion.unusable(error, world.now_ms()))
    except UpstreamError as error:
        _log.warning("start.deferred", extra={"response": record.id, "reason": str(error)})
        await defer(world, held, error)
        return record
    return await settle(world, record, held, step)


async def settle(world: World, record: Record, held: Alarm, step: Step) -> Record:
    """Note the first step of the upstream, whatever has become of the response meanwhile."""
    if step.token is None and not record.token:
        return _kept(await completion.end(world, record, held.id, completion.by_step(step, world.now_ms()), held))
    is_orphan = False
    is_over = step.token is not None and await upstream_webhooks.name(world, record, step.token)

    def plan(current: Record) -> Write | None:
        nonlocal is_orphan
        is_orphan = _is_orphan(current, step)
        return _settled(world, replace(current, woken=current.woken or is_over), step)

    settled = await decide(world, record, held.id, plan, held)
    if settled is None and step.token:
        await _stop_at_once(world, held.id, step.token)
    if is_orphan and settled:
        _log.warning("start.orphaned", extra={"response": held.id, "twice": settled.token != step.token})
    return _kept(settled)


async def _stop_at_once(world: World, response_id: str, token: str) -> None:
    """Stop the work of a response that ended, was deleted and purged meanwhile: no row can hold a stop alarm."""
    try:
        await world.upstreams.of(token).stop(token)
    except UpstreamError as error:
        _log.error("start.unstopped", extra={"response": response_id, "reason": str(error)})


def _is_orphan(record: Record, step: Step) -> bool:
    """Say whether this work is nobody's: the response ended before its token was known, or was started twice."""
    is_new = step.token is not None and step.token != record.token
    return is_new and bool(record.token or record.status.is_terminal)


def _settled(world: World, record: Record, step: Step) -> Write | None:
    """Decide what a step that has just been learned means for the record as it is now."""
    now_ms = world.now_ms()
    if step.token is None or step.token == record.token:
        return None
    if _is_orphan(record, step):
        return response_transitions.learned(record, step.token, step.upstream_id, now_ms)
    status = later(record.status, step.status)
    poll = response_transitions.poll(record, step.token, now_ms, world.dice, world.limits.poll_min_ms)
    shown = responses.present(record, status, step.answer, completion.known(record), now_ms)
    return response_transitions.started(record, status, step.token, step.upstream_id, poll, _packed_or_none(shown))


async def ring(world: World, alarm: Alarm) -> None:
    """Start a response whose starter has not finished, or learn the token of one that ended meanwhile."""
    record = await world.store.read(alarm.id)
    if record is None or record.token or (record.status.is_terminal and not may_learn(world, alarm)):
        await world.store.remove(alarm)
        return
    now_ms = world.now_ms()
    if not record.status.is_terminal and now_ms >= alarm.deadline_ms:
        await completion.end(world, record, record.id, completion.deadline(now_ms))
        return
    request = blobs.unpack(await world.store.request(record.id) or b"")
    # counted: an upstream that ignores the key may have begun before
    _log.info("start.repeated", extra={"response": record.id, "tries": alarm.tries})
    await _start_again(world, completion.echoing(record, request), alarm, request)


def may_learn(world: World, alarm: Alarm) -> bool:
    """Say whether to repeat a create only to learn what to stop: for a day, and only where keys are honoured."""
    return world.limits.honours_keys and world.now_ms() < alarm.deadline_ms + response_transitions.DAY_MS


async def _start_again(world: World, record: Record, alarm: Alarm, request: dict[str, Any]) -> None:
    try:
        step = await world.upstreams.of(record.model).start(request, record.id)
    except UpstreamRefused as refusal:
        await _fail(
            world, record, alarm, completion.refused(completion.in_our_words(refusal, record, request), world.now_ms())
        )
    except UpstreamUnusable as error:
        await _fail(world, record, alarm, completion.unusable(error, world.now_ms()))
    except UpstreamError as error:
        await defer(world, alarm, error)
    else:
        await settle(world, record, alarm, step)


async def _fail(world: World, record: Record, held: Alarm, why: completion.Decide) -> Record:
    return _kept(await completion.end(world, record, record.id, why, held))


async def defer(world: World, alarm: Alarm, error: UpstreamError) -> None:
    """Set the alarm of a start to the time of the next try; an expected error does not count as a failed attempt."""
    wait_ms = retry_delay(alarm.tries, world.dice, retry_after_s=getattr(error, "retry_after_s", None))
    await rearm(world, alarm, world.now_ms() + wait_ms, tries=alarm.tries + 1)


async def _refuse(world: World, record: Record, held: Alarm, refusal: UpstreamRefused) -> Record:
    """Remove what was inserted and pass the refusal on; a response that was promised to somebody fails instead."""
    if record.promised:
        return await _fail(world, record, held, completion.refused(refusal, world.now_ms()))
    try:
        await world.store.remove_all(record, held.key)
        lifecycle.withdrawn(record, world.upstreams.of(record.model).operation, world.now_ms())
    except Conflict:
        ended = await completion.end(world, None, record.id, completion.refused(refusal, world.now_ms()), held)
        if ended:
            return ended
    except StoreError:
        _log.warning("start.not_removed", extra={"response": record.id})
    raise RefusedByUpstream(refusal) from refusal


async def join(world: World, response_id: str) -> Record | None:
    """Wait for the first of two equal requests; None if its rows went away, so that this one may be the first.

    Whoever answers before the start is confirmed first promises the response: then it can no longer vanish.
    """
    loop = asyncio.get_running_loop()
    until = loop.time() + world.limits.start_wait_s
    while record := await world.store.read(response_id):
        if record.deleted:
            raise BadRequest("The response of this Idempotency-Key was deleted.", param="Idempotency-Key")
        if record.token or record.status.is_terminal or record.promised:
            return record
        if loop.time() >= until:
            return await decide(world, record, response_id, _promised)
        await world.sleep(_JOIN_PAUSE_S)
    return None


def _promised(record: Record) -> Write | None:
    return None if record.promised else Write(replace(record, promised=True))


def _kept(record: Record | None) -> Record:
    """Return the record; raise NotFound if it was deleted and purged while it was being started."""
    if record is None:
        raise NotFound("The response was deleted.")
    return record


def _packed(request: Mapping[str, Any]) -> bytes:
    try:
        return blobs.pack(request)
    except Oversized:
        raise _too_large("The request is") from None


def _too_large(what: str) -> TooLarge:
    return TooLarge(f"{what} over {blobs.MAX_PACKED} bytes when compressed.", code="request_too_large")


def _packed_or_none(shown: Mapping[str, Any]) -> bytes:
    """Return the packed object, nothing if it is too large to keep before it is final."""
    try:
        return blobs.pack(shown)
    except Oversized:
        return b""
