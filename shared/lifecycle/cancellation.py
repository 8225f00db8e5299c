"""Cancelling, and telling the upstream to stop."""

from shared.core.alarms import Alarm
from shared.core.backoff import retry_delay
from shared.core.errors import BadRequest, NotFound, UpstreamError
from shared.core.records import Record
from shared.core.states import Status
from shared.lifecycle import completion
from shared.runtime.ports import World
from shared.runtime.unit_of_work import rearm
from shared.telemetry.logs import logger

_log = logger(__name__)


async def cancel(world: World, record: Record) -> Record:
    """Cancel a response; cancelling a cancelled one changes nothing. Raises BadRequest if it has ended otherwise."""
    ended = await completion.end(world, record, record.id, completion.by_cancel(world.now_ms()))
    if ended is None:
        raise NotFound(f"Response with id '{record.id}' not found.")
    if ended.status is not Status.CANCELLED:
        kind = f"{ended.status}" if ended.background else "synchronous"
        raise BadRequest(f"Cannot cancel {'an' if kind[0] == 'i' else 'a'} {kind} response.")
    return ended


async def ring(world: World, alarm: Alarm) -> None:
    """Tell the upstream to stop; again with back-off until it confirms, does not know the work, or a day has passed."""
    now_ms = world.now_ms()
    if now_ms >= alarm.deadline_ms:
        _log.error("stop.given_up", extra={"response": alarm.id})
        await world.store.remove(alarm)
        return
    try:
        await world.upstreams.of(alarm.token).stop(alarm.token)
    except UpstreamError as error:
        _log.warning("stop.deferred", extra={"response": alarm.id, "reason": str(error)})
        wait_ms = retry_delay(alarm.tries, world.dice, retry_after_s=getattr(error, "retry_after_s", None))
        await rearm(world, alarm, now_ms + wait_ms, tries=alarm.tries + 1)
        return
    await world.store.remove(alarm)
