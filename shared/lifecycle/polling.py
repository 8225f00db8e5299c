"""Asking the upstream how far it is: when an alarm rings, and when a caller asks.

A poll that finds no change writes nothing: its alarm had been moved before. Only every fourth one in a row is checked:
its alarm is leased for as long as the poll may take, and set back with its count of attempts when the poll ends well.
Else a long healthy wait could not be told from a poll that kills its process.
"""

import asyncio

from shared.contract import responses
from shared.core import blobs, response_transitions
from shared.core.alarms import Alarm
from shared.core.backoff import poll_delay, retry_delay
from shared.core.changesets import Write
from shared.core.errors import StoreError, Unavailable, UpstreamError, UpstreamMissing, UpstreamOversized
from shared.core.records import Record
from shared.core.states import later
from shared.lifecycle import completion
from shared.runtime.ports import World
from shared.runtime.unit_of_work import decide, rearm
from shared.telemetry.logs import logger
from shared.upstreams.protocol import Step

_log = logger(__name__)

CHECKED_ATTEMPT = 4
MISSING_GRACE_MS = 120_000
GET_PAUSE_S = 1.0
SEEN_AFTER_S = 5
_MAX_WAIT_MS = 3_600_000


async def ring(world: World, alarm: Alarm, now_ms: int) -> None:
    """Poll for an alarm that has been moved to its next time; `now_ms` is the moment of that move."""
    record = None
    if alarm.read_ms == now_ms:  # the move has noted that the record's minute is over
        record = await world.store.read(alarm.id)
        if record is None or record.status.is_terminal:
            await world.store.remove(alarm)
            return
    if now_ms >= alarm.deadline_ms:
        await completion.end(world, record, alarm.id, completion.deadline(now_ms), alarm)
        return
    try:
        step = await _asked(world, alarm.id, alarm.token)
    except UpstreamMissing:
        await _missing(world, alarm, now_ms)
    except UpstreamOversized as error:
        await completion.end(world, record, alarm.id, completion.unusable(error, now_ms), alarm)
    except UpstreamError as error:
        await _unavailable(world, alarm, error)
    else:
        await _advanced(world, record, alarm, step)


async def _advanced(world: World, record: Record | None, alarm: Alarm, step: Step) -> None:
    now_ms = world.now_ms()
    if step.token is None:
        await completion.end(world, record, alarm.id, completion.by_step(step, now_ms), alarm)
        return
    if record:
        await note(world, record, step)
    wanted_ms = now_ms + int((step.retry_after_s or 0) * 1000)
    if wanted_ms > alarm.due_ms or alarm.tries or alarm.missing_ms or alarm.attempt >= CHECKED_ATTEMPT:
        usual_ms = poll_delay(now_ms - alarm.born_ms, world.dice, world.limits.poll_min_ms)
        wait_ms = max(usual_ms, int((step.retry_after_s or 0) * 1000))
        await rearm(world, alarm, now_ms + min(wait_ms, _MAX_WAIT_MS), tries=0, missing_ms=0)


async def _missing(world: World, alarm: Alarm, now_ms: int) -> None:
    """Bear a 404 for two minutes: Azure gives it soon after a create, and for 33 s after a stream's completion."""
    if now_ms - (alarm.missing_ms or now_ms) < MISSING_GRACE_MS:
        wait_ms = poll_delay(now_ms - alarm.born_ms, world.dice)  # soon: it may not be there yet
        await rearm(world, alarm, now_ms + wait_ms, missing_ms=alarm.missing_ms or now_ms)
        return
    lost = completion.by_failure("upstream_lost", "The upstream does not know this response any more.", now_ms)
    await completion.end(world, None, alarm.id, lost, alarm)


async def _unavailable(world: World, alarm: Alarm, error: UpstreamError) -> None:
    _log.warning("poll.deferred", extra={"response": alarm.id, "reason": str(error), "tries": alarm.tries + 1})
    wait_ms = retry_delay(alarm.tries, world.dice, retry_after_s=getattr(error, "retry_after_s", None))
    await rearm(world, alarm, world.now_ms() + wait_ms, tries=alarm.tries + 1)


async def note(world: World, record: Record, step: Step) -> Record:
    """Write an unfinished status into the record where it has changed, so that no reader sees it go back."""
    if later(record.status, step.status) == record.status:
        return record

    def plan(current: Record) -> Write | None:
        if current.status.is_terminal or later(current.status, step.status) == current.status:
            return None
        return response_transitions.noted(current, later(current.status, step.status))

    return await decide(world, record, record.id, plan) or record


async def look(world: World, record: Record) -> tuple[Record, bytes]:
    """Return a response as a caller reads it, asking the upstream first: at most once a second and response.

    An upstream that cannot be asked is no error here: what is known is shown. The alarm is left alone.
    """
    if not record.status.is_terminal and record.token and record.mode == "poll":
        record, step = await _peek(world, record)
        if step and not record.status.is_terminal:
            return record, _shown(world, await completion.remembered(world, record), step)
    return record, await stored(world, record)


async def _peek(world: World, record: Record) -> tuple[Record, Step | None]:
    step = None
    try:
        step = await _asked(world, record.id, record.token or "", takes_past=True)
        if step.token is None:
            ended = await completion.end(world, record, record.id, completion.by_step(step, world.now_ms()))
            return ended or record, step
        return await note(world, record, step), step
    except UpstreamOversized as error:
        ended = await completion.end(world, record, record.id, completion.unusable(error, world.now_ms()))
        return ended or record, None
    except (UpstreamError, StoreError) as error:
        _log.warning("look.deferred", extra={"response": record.id, "reason": str(error)})
        return record, step


async def finish(world: World, record: Record) -> Record | None:
    """End a response that the upstream says has ended, and return it; raise Unavailable if that cannot be seen yet."""
    token = record.token or ""
    try:
        step = await _asked(world, record.id, token)
        if step.token:
            step = await _asked(world, record.id, token)  # the first may have been asked before the end
    except UpstreamOversized as error:
        return await completion.end(world, record, record.id, completion.unusable(error, world.now_ms()))
    except UpstreamError as error:
        raise Unavailable("The upstream cannot be asked now.", retry_after_s=SEEN_AFTER_S) from error
    if step.token:
        raise Unavailable("The upstream does not show the end yet.", retry_after_s=SEEN_AFTER_S)
    return await completion.end(world, record, record.id, completion.by_step(step, world.now_ms()))


async def _asked(world: World, response_id: str, token: str, *, takes_past: bool = False) -> Step:
    """Return the step of the poll that all of this process share: the one under way, or also one of the last second."""
    poll = world.polls.get(response_id)
    if poll is None or (poll.done() and not takes_past):
        poll = world.polls[response_id] = asyncio.ensure_future(world.upstreams.of(token).advance(token))
        poll.add_done_callback(lambda done: _forget_later(world, response_id, done))
    return await asyncio.shield(poll)


def _forget_later(world: World, response_id: str, poll: "asyncio.Task[Step]") -> None:
    def forget() -> None:
        if world.polls.get(response_id) is poll:
            del world.polls[response_id]

    if not poll.cancelled():
        poll.exception()  # its waiters may all have gone
    asyncio.get_running_loop().call_later(GET_PAUSE_S, forget)


def _shown(world: World, record: Record, step: Step) -> bytes:
    return responses.encode(
        responses.present(record, record.status, step.answer, completion.known(record), world.now_ms())
    )


async def stored(world: World, record: Record) -> bytes:
    """Return the response object as JSON from what is kept of it."""
    if record.status.is_terminal:
        return blobs.expand(await world.store.body(record))
    base = completion.known(await completion.remembered(world, record))
    return responses.encode(responses.restated(record, base, world.now_ms()))
