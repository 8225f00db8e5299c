"""Deleting and purging: what a caller deletes is hidden at once, and removed row by row soon after."""

from shared.core import response_transitions
from shared.core.alarms import Alarm
from shared.core.changesets import Write
from shared.core.errors import BadRequest, Conflict, NotFound, UpstreamError
from shared.core.records import Record
from shared.lifecycle import upstream_webhooks
from shared.runtime.ports import World
from shared.runtime.unit_of_work import decide
from shared.telemetry.logs import logger

_log = logger(__name__)
BATCHES_A_RING = 20
SOON_MS = 1_000
WAIT_MS = 600_000
STARTING_MS = 60_000


async def delete(world: World, record: Record) -> None:
    """Hide an ended response for good; raise BadRequest if it has not ended."""
    if not record.status.is_terminal:
        raise BadRequest("Cannot delete an in-flight response.")
    try:
        hidden = await decide(world, record, record.id, lambda current: _deleted(world, current))
    except Conflict:
        # its purge alarm has been moved: the purge is under way, and will find the response deleted
        hidden = await decide(world, None, record.id, _hidden)
    if hidden is None:
        raise NotFound(f"Response with id '{record.id}' not found.")


def _deleted(world: World, record: Record) -> Write | None:
    return None if record.deleted else response_transitions.deleted(record, world.now_ms())


def _hidden(record: Record) -> Write | None:
    return None if record.deleted else response_transitions.hidden(record)


async def ring(world: World, alarm: Alarm) -> None:
    """Remove a response whose time has come, at most 20 batches of its rows; wait for an open delivery first."""
    if alarm.target == upstream_webhooks.NAMED:
        await upstream_webhooks.forget(world, alarm)
        return
    record = await world.store.read(alarm.id, with_body=False)
    if record is None or not record.status.is_terminal:
        await world.store.remove(alarm)
        return
    now_ms = world.now_ms()
    if _must_wait(world, record, now_ms):
        await _put_off(world, record, alarm, now_ms + (WAIT_MS if record.upstream_id else STARTING_MS))
        return
    if record.upstream_id and (record.deleted or not record.store):
        await _forget(world, record.model, record.upstream_id)
    for _ in range(BATCHES_A_RING):
        if await world.store.remove_all(record, alarm.key):
            _log.info("response.purged", extra={"response": record.id})
            return
    await _put_off(world, record, alarm, now_ms + SOON_MS)


def _must_wait(world: World, record: Record, now_ms: int) -> bool:
    """Say whether a delivery is open, or a start may be under way whose token only this record can hold to stop it."""
    if record.upstream_id is None and now_ms < record.ended_ms + STARTING_MS:
        return True
    is_open = any(delivery.is_open for delivery in record.deliveries)
    return is_open and now_ms < response_transitions.kept_until(record, world.limits.retention_ms)


async def _put_off(world: World, record: Record, alarm: Alarm, due_ms: int) -> None:
    later = alarm.at(due_ms, attempt=0)
    await decide(world, record, record.id, lambda current: response_transitions.put_off(current, later), alarm)


async def _forget(world: World, model: str | None, upstream_id: str) -> None:
    """Ask the upstream to delete its copy; what it cannot do now its own retention will."""
    try:
        await world.upstreams.of(model).forget(upstream_id)
    except UpstreamError as error:
        _log.warning("forget.failed", extra={"reason": str(error)})
