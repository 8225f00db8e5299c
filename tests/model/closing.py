"""The end of every run of the model: all faults are healed, and then everything must come to its end in time."""

from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any

from shared.core import keys
from shared.core.alarms import alarm_of
from tests.model.audit import TABLE, holds, rows_left
from tests.model.clients import POLLED, Life
from tests.model.processes import DEADLINE_MS, RETENTION_MS, Process
from tests.model.world import GATED, LIMIT, MODELS, PLAIN, World

STEP_S = 5.0
OVERDUE_S = 90.0  # invariant 1
ENDS_WITHIN_S = DEADLINE_MS / 1000 + OVERDUE_S
SETTLES_WITHIN_S = 28 * 3_600.0  # less than the retention: a purge would hide work that goes on
_STARTS = 4  # of work that cannot be resumed: one, and three restarts


def close(world: World) -> None:
    """Heal the world, and check that everything ends, is delivered, and is purged."""
    heal(world)
    world.run(OVERDUE_S)  # what was on its way arrives
    _run(world, lambda: not _unfinished(world), ENDS_WITHIN_S, "accepted means kept: everything ends in time")
    _run(
        world, lambda: _is_settled(world), SETTLES_WITHIN_S, "everything is delivered, and what nobody wants is stopped"
    )
    for number in range(LIMIT + 1):
        life = world.callers.new(MODELS[GATED], POLLED, has_callback=False)
        world.call(number, partial(_create, world, life))
    world.run(STEP_S)
    _run(world, lambda: not _unfinished(world), ENDS_WITHIN_S, "a permit that a line wants comes back")
    check_ends(world)
    world.callers.check_logs()
    purged_s = world.loop.time() + RETENTION_MS / 1000 + ENDS_WITHIN_S
    _run(world, lambda: world.loop.time() > purged_s or not _left(world), RETENTION_MS, "purge")
    world.run(SETTLES_WITHIN_S - purged_s if purged_s < 0 else 2 * OVERDUE_S)
    holds(not _left(world), "no row is without its owner after the purge", _left(world))


def _create(world: World, life: Life, process: Process) -> Coroutine[Any, Any, None]:
    return world.callers.create(process, life)


def heal(world: World) -> None:
    """End all faults. Processes that have died are replaced."""
    world.chaos, world.away_until_s = False, 0.0
    world.mailbox.moods.clear()
    for peer in world.peers.values():
        peer.moods.clear()
    for place in range(len(world.processes)):
        process = world.process(place)
        process.fault = None
        process.thaw()


def check_ends(world: World) -> None:
    """Check what has been told to receivers and upstreams, after everything has ended."""
    ended = world.audit.ended
    for life in world.callers.lives.values():
        holds(life.id in ended or not life.is_known, "accepted means kept", life)
        is_due = life.has_callback and life.id in ended
        holds(life.accepted or not is_due, "a terminal event is sent until it is accepted", life)
    for name, peer in world.peers.items():
        most = min(_STARTS, 1 + world.faults + peer.trouble) if name == PLAIN else 1
        twice = {key: count for key, count in peer.begun.items() if count > most}
        holds(not twice, "work is started once", (name, twice, world.faults, peer.trouble))


def _run(world: World, is_over: Callable[[], bool], within_s: float, invariant: str) -> None:
    until_s, began_s = world.loop.time() + within_s, world.loop.time()
    step_s = STEP_S
    while not is_over():
        _finish_work(world)
        world.run(step_s)
        step_s = min(step_s * 1.2, 600.0)
        if world.loop.time() - began_s > 2 * OVERDUE_S:
            _check_overdue(world)
        if world.loop.time() > until_s:
            holds(is_over(), invariant, (_unfinished(world), _left(world)))


def _unfinished(world: World) -> list[str]:
    return [record.id for record in world.audit.records() if not record.status.is_terminal]


def _finish_work(world: World) -> None:
    """Let upstreams finish the work that a response waits for. The service has to stop the rest."""
    waiting = set(_unfinished(world))
    for peer in world.peers.values():
        for work in peer.unfinished():
            if work.key in waiting:
                work.finish()


def _is_settled(world: World) -> bool:
    """Return whether nothing is open: no delivery, no work that is to be stopped, and no place in a line."""
    records = world.audit.records()
    is_delivered = not any(delivery.is_open for record in records for delivery in record.deliveries)
    ids = {record.id for record in records}
    is_stopped = not [work for peer in world.peers.values() for work in peer.unfinished() if work.key in ids]
    gates = [one for name, one in world.tables.tables[TABLE].items() if name.startswith("gate:")]
    is_free = not any(one.between("wait|", "wait|~") for one in gates)
    return is_delivered and is_stopped and is_free


def _left(world: World) -> list[str]:
    return list(rows_left(world.tables))


def _check_overdue(world: World) -> None:
    now_ms = world.processes[0].clock.now_ms()
    for partition in world.tables.tables[TABLE].values():
        for key in partition.between(keys.ALARMS, keys.ALARMS + keys.END)[:1]:
            late_s = (now_ms - alarm_of(key).due_ms) / 1000
            holds(late_s < OVERDUE_S, "what is due happens in time", (key, late_s))
