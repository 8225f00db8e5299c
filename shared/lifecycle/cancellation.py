"""Cancellation of a response, and of its work upstream."""

from shared.core.alarms import Alarm
from shared.core.backoff import retry_delay
from shared.core.errors import BadRequest, NotFound, UpstreamError, UpstreamRedirected, UpstreamRefused
from shared.core.records import Record
from shared.core.states import Status
from shared.lifecycle import completion, endings
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import end_turn, rearm
from shared.telemetry.logs import logger

MAX_REFUSALS = 4  # of a stop. The work may be locked for a moment, or the upstream cannot stop it at all

_log = logger(__name__)


async def cancel(ports: Ports, record: Record) -> Record:
    """Cancel a response and return its record. A cancelled response stays as it is.

    Raises BadRequest if it has ended otherwise, and NotFound if it has been purged.
    """
    ended = await completion.end(ports, record, record.id, endings.cancelled(ports.clock.now_ms()))
    if ended is None:
        raise NotFound(f"Response with id '{record.id}' not found.")
    if ended.status is not Status.CANCELLED:
        kind = f"{ended.status}" if ended.request.background else "synchronous"
        raise BadRequest(f"Cannot cancel {'an' if kind[0] == 'i' else 'a'} {kind} response.")
    return ended


async def on_stop_alarm(ports: Ports, alarm: Alarm) -> None:
    """Stop the work upstream. Retry until the upstream confirms, does not know the work, or a day has passed.

    An upstream that refuses to stop it is asked at most four times.
    """
    now_ms = ports.clock.now_ms()
    if now_ms >= alarm.deadline_ms:
        _log.error("stop.given_up", extra={"response": alarm.id})
        await _settle(ports, alarm)
        return
    try:
        await ports.upstreams.of_alarm(alarm).upstream.stop(alarm.token)
    except UpstreamError as error:
        if isinstance(error, UpstreamRefused | UpstreamRedirected) and alarm.tries + 1 >= MAX_REFUSALS:
            _log.warning("stop.refused", extra={"response": alarm.id})
            await _settle(ports, alarm)
            return
        _log.warning("stop.deferred", extra={"response": alarm.id, "reason": str(error)})
        wait_ms = retry_delay(alarm.tries, ports.random, retry_after_s=error.retry_after_s)
        await rearm(ports, alarm, now_ms + wait_ms, tries=alarm.tries + 1)
        return
    await _settle(ports, alarm)


async def _settle(ports: Ports, alarm: Alarm) -> None:
    """Remove the alarm of work that has been stopped, or cannot be, and give back the permit of its response."""
    await ports.store.remove(alarm)
    if record := await ports.store.read(alarm.id, with_body=False):
        await end_turn(ports, record)
