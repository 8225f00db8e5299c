"""Retention: a deleted response is hidden at once and purged soon. All others are purged when they are old."""

from shared.core import keys
from shared.core.alarms import Alarm
from shared.core.errors import BadRequest, Conflict, NotFound, UpstreamError
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.lifecycle import upstream_ids
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import update
from shared.telemetry.logs import logger
from shared.transitions import retention_transitions

_log = logger(__name__)
BATCHES_PER_PURGE = 20
SOON_MS = 1_000
WAIT_MS = 600_000
STARTING_MS = 60_000


async def delete(ports: Ports, record: Record) -> None:
    """Hide an ended response for good. Raise BadRequest if it has not ended, and NotFound if it has been purged."""
    if not record.status.is_terminal:
        raise BadRequest("Cannot delete an in-flight response.")
    now_ms = ports.clock.now_ms()
    try:
        hidden = await update(ports, record, record.id, lambda current: retention_transitions.delete(current, now_ms))
    except Conflict:
        # its purge alarm has been moved, so the purge is under way and will find the tombstone
        hidden = await update(ports, None, record.id, retention_transitions.hide)
    if hidden is None:
        raise NotFound(f"Response with id '{record.id}' not found.")


async def on_purge_alarm(ports: Ports, alarm: Alarm) -> None:
    """Remove a response that is due, at most 20 batches of its rows at once. Wait while a delivery is open.

    One that takes several transactions is hidden before the first, because a process may die between them.
    """
    if alarm.target == upstream_ids.TARGET:
        await upstream_ids.purge(ports, alarm)
        return
    if alarm.target == keys.REPEATS_TARGET:
        await _purge_repeats(ports, alarm)
        return
    record = await ports.store.read(alarm.id, with_body=False)
    if record is None or not record.status.is_terminal:
        await ports.store.remove(alarm)
        return
    now_ms = ports.clock.now_ms()
    if _must_wait(ports, record, now_ms):
        await _postpone(ports, record, alarm, now_ms + (WAIT_MS if record.upstream.id else STARTING_MS))
        return
    is_unwanted = (record.deleted and not record.expired) or not record.request.store
    if record.upstream.id and is_unwanted:
        await _forget_upstream(ports, record, record.upstream.id)
    for _ in range(BATCHES_PER_PURGE):
        if await ports.store.remove_all(record, alarm.key):
            _log.info("response.purged", extra={"response": record.id})
            return
        record = await update(ports, record, record.id, retention_transitions.expire) or record
    await _postpone(ports, record, alarm, now_ms + SOON_MS)


def _must_wait(ports: Ports, record: Record, now_ms: int) -> bool:
    """Return whether a delivery is open, or a start may be under way whose token only this record can hold."""
    is_starting = record.upstream.id is None and not record.upstream.refusal
    if is_starting and now_ms < record.ended_ms + STARTING_MS:
        return True
    is_open = any(delivery.is_open for delivery in record.deliveries)
    return is_open and now_ms < retention_transitions.kept_until(record, ports.config.limits.retention_ms)


async def _purge_repeats(ports: Ports, alarm: Alarm) -> None:
    """Remove the row that repeats of a foreground call find, unless it names younger work by now."""
    key = keys.repeats_key(alarm.id)
    row = await ports.store.find(alarm.id, key)
    if row and (until_ms := int(row[keys.UNTIL])) > ports.clock.now_ms():
        await ports.store.move(shard_of(alarm.id), [(alarm, alarm.at(until_ms, attempt=0))])
        return
    await ports.store.discard(alarm.id, key)
    await ports.store.remove(alarm)


async def _postpone(ports: Ports, record: Record, alarm: Alarm, due_ms: int) -> None:
    later = alarm.at(due_ms, attempt=0)
    await update(ports, record, record.id, lambda current: retention_transitions.postpone_purge(current, later), alarm)


async def _forget_upstream(ports: Ports, record: Record, upstream_id: str) -> None:
    """Ask the upstream to delete its copy. If that fails, the upstream's own retention deletes it later."""
    try:
        await ports.upstreams.of(record).upstream.forget(upstream_id)
    except UpstreamError as error:
        _log.warning("forget.failed", extra={"reason": str(error)})
