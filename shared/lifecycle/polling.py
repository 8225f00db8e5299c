"""Polling: asks the upstream how far it is, when an alarm fires and when a caller asks.

A poll that finds no change writes nothing, because its alarm was moved before. Only every fourth poll in a row is
checked. Its alarm is leased for as long as the poll may take. When the poll ends well, the alarm is set back and its
count of attempts becomes 0. Without that, a long healthy wait would look like a poll that crashes its process.
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from shared import off_loop
from shared.contract import responses
from shared.core.alarms import Alarm
from shared.core.backoff import RETRY_AFTER_MAX_MS, poll_delay, retry_delay
from shared.core.changesets import ChangeSet
from shared.core.errors import (
    StoreError,
    Unavailable,
    UpstreamError,
    UpstreamFailed,
    UpstreamMissing,
    UpstreamOversized,
    UpstreamRedirected,
    UpstreamRefused,
    UpstreamUnusable,
)
from shared.core.ids import shard_of
from shared.core.records import ExecutionMode, Record, WaitInfo
from shared.core.states import later
from shared.gates import waits
from shared.lifecycle import completion, echoes, endings
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import put_off, rearm, update
from shared.telemetry.logs import logger
from shared.transitions import response_transitions
from shared.upstreams import removed, tries
from shared.upstreams.protocol import Progress
from shared.upstreams.routes import Route

_log = logger(__name__)

CHECKED_ATTEMPT = 4
MISSING_GRACE_MS = 120_000
TOLERATED_ANSWERS = 2  # unusable ones since the last that was a response object
RETRY_WEBHOOK_S = 5
MISSING = "The upstream no longer knows this response."
UNUSABLE = (UpstreamFailed, UpstreamUnusable)  # answers that are no response objects
FINAL = (UpstreamOversized, UpstreamRedirected)  # answers that no later poll would change


def next_wait(ports: Ports, alarm: Alarm, now_ms: int) -> int:
    """Return the milliseconds until the next poll of an alarm. It is stretched if the polls of its shard are late.

    It does not go beyond the deadline of the response.
    """
    return poll_delay(
        now_ms - alarm.born_ms,
        ports.random,
        ports.upstreams.of_alarm(alarm).spec.poll_min_ms,
        stretch=ports.poll_pace.stretch(shard_of(alarm.id)),
        left_ms=alarm.deadline_ms - now_ms,
    )


async def on_poll_alarm(ports: Ports, alarm: Alarm, now_ms: int) -> None:
    """Poll for an alarm that a sweep has moved to its next time. `now_ms` is when it moved, in unix milliseconds."""
    record = None
    if alarm.read_ms == now_ms:  # the sweep sets this if the record is to be read
        record = await _unended(ports, alarm)
        if record is None:
            return
    if now_ms >= alarm.deadline_ms:
        await completion.end(ports, record, alarm.id, endings.deadline_exceeded(now_ms), alarm)
        return
    try:
        async with ports.poll_slots.slot():
            progress = await ask_upstream(ports, ports.upstreams.of_alarm(alarm), alarm.id, alarm.token, alarm.include)
    except (UpstreamMissing, UpstreamRefused) as error:
        await _on_missing(ports, record, alarm, error, now_ms)
    except FINAL as error:
        await completion.end(ports, record, alarm.id, endings.unusable(error, now_ms), alarm)
    except UpstreamError as error:
        await _on_error(ports, record, alarm, error)
    else:
        await _on_progress(ports, record, alarm, progress)


async def _unended(ports: Ports, alarm: Alarm) -> Record | None:
    """Return the record of an alarm. If it has ended, or is gone, remove the alarm and return None."""
    record = await ports.store.read(alarm.id)
    if record and not record.status.is_terminal:
        return record
    await ports.store.remove(alarm)
    return None


async def _on_progress(ports: Ports, record: Record | None, alarm: Alarm, progress: Progress) -> None:
    now_ms = ports.clock.now_ms()
    if progress.token is None:
        await completion.end(ports, record, alarm.id, endings.by_progress(progress, now_ms), alarm)
        return
    if record:
        record = await record_progress(ports, record, progress)
    asked_ms = int((progress.retry_after_s or 0) * 1000)
    if now_ms + asked_ms > alarm.due_ms or alarm.tries or alarm.missing_ms or alarm.attempt >= CHECKED_ATTEMPT:
        due_ms = now_ms + min(max(next_wait(ports, alarm, now_ms), asked_ms), RETRY_AFTER_MAX_MS)
        healthy = {"tries": 0, "unusable": 0, "missing_ms": 0}
        if alarm.tries:
            await put_off(ports, record, alarm, due_ms, None, **healthy)
        else:
            await rearm(ports, alarm, due_ms, **healthy)
    else:
        ports.answered.note(alarm)


async def _on_missing(ports: Ports, record: Record | None, alarm: Alarm, error: UpstreamError, now_ms: int) -> None:
    """Tolerate a 404, or another refusal, for two minutes.

    Azure answers 404 soon after a create, and for 33 s after a stream's end. If the response has ended, its work may
    have been removed, and the 404 means nothing.
    """
    record = record or await _unended(ports, alarm)
    if record is None:
        return
    if now_ms - (alarm.missing_ms or now_ms) < MISSING_GRACE_MS:
        due_ms = now_ms + next_wait(ports, alarm, now_ms)
        await rearm(ports, alarm, due_ms, missing_ms=alarm.missing_ms or now_ms)
        return
    lost = endings.lost(MISSING, now_ms)
    outcome = endings.by_error(error, now_ms) if isinstance(error, UpstreamRefused) else lost
    await completion.end(ports, record, alarm.id, outcome, alarm)


async def _on_error(ports: Ports, record: Record | None, alarm: Alarm, error: UpstreamError) -> None:
    """Poll again later. The third answer with something else than a response object ends the response.

    The first two are tolerated, because a gateway may say so while the work goes on behind it.
    """
    now_ms, is_unusable = ports.clock.now_ms(), isinstance(error, UNUSABLE)
    if removed.is_removed(error) and now_ms - (alarm.missing_ms or now_ms) >= removed.GRACE_MS:
        await completion.end(ports, record, alarm.id, endings.removed(now_ms), alarm)
        return
    if is_unusable and alarm.unusable >= TOLERATED_ANSWERS:
        await completion.end(ports, record, alarm.id, endings.by_error(error, now_ms), alarm)
        return
    seen = {**tries.seen(error), "tries": alarm.tries + 1}
    _log.warning("poll.deferred", extra={"response": alarm.id, **seen})
    due_ms = now_ms + retry_delay(alarm.tries, ports.random, retry_after_s=error.retry_after_s)
    missing_ms = (alarm.missing_ms or now_ms) if removed.is_removed(error) else alarm.missing_ms
    counts = {"tries": alarm.tries + 1, "unusable": alarm.unusable + is_unusable, "missing_ms": missing_ms}
    await put_off(ports, record, alarm, due_ms, error, **counts)


async def record_progress(ports: Ports, record: Record, progress: Progress) -> Record:
    """Record an unfinished status if it has changed, so that no reader sees it go back. Return the record."""
    if later(record.status, progress.status) == record.status:
        return record

    def transition(current: Record) -> ChangeSet | None:
        status = later(current.status, progress.status)
        if current.status.is_terminal or status == current.status:
            return None
        return response_transitions.record_progress(current, status)

    return await update(ports, record, record.id, transition) or record


# For callers


async def look(ports: Ports, record: Record, include: tuple[str, ...] = ()) -> tuple[Record, bytes]:
    """Return the record of a response, and its object as JSON text for a caller.

    The upstream is asked first, at most once a second per response. If it cannot be asked, the stored object is
    returned. `include` is what the caller wants beside what the request asked for. The alarm is left alone.
    """
    upstream = record.upstream
    included = tuple(dict.fromkeys((*record.request.include, *include)))
    if not record.status.is_terminal and upstream.token and record.run.mode is ExecutionMode.POLL:
        record, progress = await _look_upstream(ports, record, upstream.token, included)
        if progress and not record.status.is_terminal:
            return record, await _unfinished(ports, record, progress)
    if record.status.is_terminal and included != record.request.include:
        return record, await _enriched(ports, record, included)
    return record, await stored_object(ports, record)


async def _unfinished(ports: Ports, record: Record, progress: Progress) -> bytes:
    known = await completion.with_object(ports, record)
    credentials, now_ms = await completion.credentials_of(ports, record), ports.clock.now_ms()
    shown = partial(_shown, known, progress.answer, credentials, now_ms)
    return await off_loop.run_on_both(progress.answer, known.body, shown)


def _shown(record: Record, answer: Mapping[str, Any], credentials: frozenset[str], now_ms: int) -> bytes:
    masked = echoes.masked_echo(dict(answer), credentials)
    return responses.encode(responses.present(record, record.status, masked, endings.known_object(record), now_ms))


async def _enriched(ports: Ports, record: Record, include: tuple[str, ...]) -> bytes:
    """Return the object of an ended response with the output that its upstream shows now.

    If the upstream cannot be asked, or shows another end or no output, the stored object is returned.
    """
    upstream_id = record.upstream.id
    if not upstream_id or not ports.upstreams.of(record).upstream.is_background:
        return await stored_object(ports, record)
    try:
        progress = await ask_upstream(
            ports, ports.upstreams.of(record), record.id, upstream_id, include, accepts_past=True
        )
    except UpstreamError as error:
        _log.warning("look.deferred", extra={"response": record.id, "reason": str(error)})
        return await stored_object(ports, record)
    if progress.status is not record.status or not progress.answer.get("output"):
        return await stored_object(ports, record)
    body, credentials = await ports.store.body(record), await completion.credentials_of(ports, record)
    answer = {"id": progress.answer.get("id"), "output": progress.answer["output"]}
    return await off_loop.run_on_both(answer, body, _with_output, record, body, answer, credentials)


def _with_output(record: Record, body: bytes, answer: dict[str, Any], credentials: frozenset[str]) -> bytes:
    """Return the object of an ended response with the output of `answer`. `body` is the object as it is stored."""
    masked, stored = echoes.masked_echo(answer, credentials), responses.stored_response(record, body)
    return responses.encode(responses.present(record, record.status, masked, stored, record.ended_ms))


async def _look_upstream(
    ports: Ports, record: Record, token: str, include: tuple[str, ...]
) -> tuple[Record, Progress | None]:
    """Return the record after a poll, and what that has shown. An end is only what the request itself asked for."""
    own, progress = record.request.include, None
    try:
        progress = await ask_upstream(ports, ports.upstreams.of(record), record.id, token, include, accepts_past=True)
        if progress.token is not None:
            return await record_progress(ports, record, progress), progress
        if include == own:
            outcome = endings.by_progress(progress, ports.clock.now_ms())
            return await completion.end(ports, record, record.id, outcome) or record, progress
    except FINAL as error:
        if include == own:
            outcome = endings.unusable(error, ports.clock.now_ms())
            return await completion.end(ports, record, record.id, outcome) or record, None
    except (UpstreamError, StoreError) as error:
        _log.warning("look.deferred", extra={"response": record.id, "reason": str(error)})
        return _waiting(record, error, ports.clock.now_ms()), progress
    return await _look_upstream(ports, record, token, own)


def _waiting(record: Record, error: Exception, now_ms: int) -> Record:
    """Return the record of a response that could not be asked for now, with what it waits for. It is not stored."""
    if not isinstance(error, UpstreamError) or error.waits_for == record.wait.reason:
        return record
    return replace(record, wait=WaitInfo().after(error.waits_for, str(error), now_ms))


async def end_announced(ports: Ports, record: Record, token: str) -> Record | None:
    """End a response whose end the upstream has announced, and return its record.

    Raises Unavailable if the upstream cannot be asked, or does not show the end yet.
    """
    try:
        route, include = ports.upstreams.of(record), record.request.include
        progress = await ask_upstream(ports, route, record.id, token, include)
        if progress.token:  # that poll may have begun before the end
            progress = await ask_upstream(ports, route, record.id, token, include)
    except FINAL as error:
        return await completion.end(ports, record, record.id, endings.unusable(error, ports.clock.now_ms()))
    except UpstreamError as error:
        raise Unavailable("The upstream cannot be asked now.", retry_after_s=RETRY_WEBHOOK_S) from error
    if progress.token:
        raise Unavailable("The upstream does not show the end yet.", retry_after_s=RETRY_WEBHOOK_S)
    return await completion.end(ports, record, record.id, endings.by_progress(progress, ports.clock.now_ms()))


async def ask_upstream(
    ports: Ports, route: Route, response_id: str, token: str, include: tuple[str, ...], *, accepts_past: bool = False
) -> Progress:
    """Ask the upstream. Simultaneous polls of one response in this process, for the same content, share one call."""
    key = (response_id, include)
    return await ports.polls.call(key, lambda: route.upstream.poll(token, include), accepts_past=accepts_past)


async def stored_object(ports: Ports, record: Record) -> bytes:
    """Return the stored response object as JSON text."""
    if record.status.is_terminal:
        body = await ports.store.body(record)
        return await off_loop.run_packed(body, responses.stored_text, record, body)
    now_ms = ports.clock.now_ms()
    known = await completion.with_object(ports, await waits.one_as_now(ports.gates, ports.upstreams, record, now_ms))
    return await off_loop.run_packed(known.body, _as_known, known, now_ms)


def _as_known(record: Record, now_ms: int) -> bytes:
    return responses.encode(responses.present_known(record, endings.known_object(record), now_ms))
