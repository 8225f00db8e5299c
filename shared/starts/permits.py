"""Permits: a response gets one of the first upstream that has one free, or waits in the line of its first one.

Each gate is asked, because what this process knows of it may be old. A response enters a line only after all of them
have refused it. The record names an upstream before the response enters its line, or begins there. Otherwise a grant
that came between the two would be given back, as that of a response that passes another gate.
"""

from shared.core.alarms import Alarm
from shared.core.errors import StoreError, UpstreamError
from shared.core.records import Record
from shared.runtime import lease_renewal
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import put_off
from shared.starts import turns
from shared.starts.rerouting import Round
from shared.telemetry.logs import logger
from shared.upstreams.routes import Route

_log = logger(__name__)


async def take_permit(
    ports: Ports, round_: Round, record: Record, held: Alarm, *, again: bool
) -> Record | tuple[Record, Alarm]:
    """Take a permit for a start. Return the record and its `start` alarm, which may differ from `held`.

    Returns only the record if the response waits for its turn, or if another process may start it. `again`: it may have
    asked before. Raises StoreError, after which it may have a permit or a place.
    """
    if not round_.may_move(record, held.counted) or not ports.upstreams.others(record):
        return await _enter(ports, record, held, again=again)
    async with lease_renewal.holding(ports, held) as lease:
        turn = await turns.ask(ports, record, held, again=again, stays=False)
        route = await round_.free_elsewhere(record, again=again) if turn else None
    if lease.is_over or lease.is_past(ports.clock.now_ms()):  # another process may have started the response
        if route:
            await round_.leave(record, route)
        return record
    if turn is None:
        return record, lease.alarm
    if route:
        return await _moved(ports, round_, record, lease.alarm, route, again=again) or record
    if first := round_.first(record):
        moved = await _moved(ports, round_, record, lease.alarm, first, again=again)
        return await _enter(ports, *moved, again=True) if moved else record
    return await _enter(ports, record, lease.alarm, again=again)


async def take_permit_at_first(
    ports: Ports, round_: Round, record: Record, held: Alarm, error: UpstreamError
) -> Record | tuple[Record, Alarm] | None:
    """Give a response that no upstream could begin to its first one, and take a permit there.

    Returns as `take_permit` does, or None if it stays where it is: that is its first one, it may not move after
    `error`, or storage fails. The upstream that could not begin it is closed for all, and gets its permit back. If
    storage fails after the move, the `start` alarm goes on there. Raises StoreError if that cannot be written.
    """
    first = round_.first(record) if round_.may_move_after(record, error, held.counted) else None
    if first is None:
        return None
    try:
        moved = await round_.move_to(record, held, first)
    except StoreError:
        _log.warning("start.not_rerouted", extra={"response": record.id, "upstream": first.name})
        return None
    if moved is None:
        return record
    there, alarm = moved
    try:
        await round_.close(record, error)
        return await _enter(ports, there, alarm, again=True, error=error)
    except StoreError:
        return await put_off(ports, there, alarm, alarm.due_ms, error, counted=max(0, alarm.counted - 1)) or there


async def _moved(
    ports: Ports, round_: Round, record: Record, held: Alarm, route: Route, *, again: bool
) -> tuple[Record, Alarm] | None:
    """Give a response to an upstream, and have it leave the line where an earlier try may have put it."""
    moved = await round_.move_to(record, held, route)
    own = ports.upstreams.gate_of(record)
    if moved and again and own:
        await ports.gates.leave(own, turns.place_at(record, held))
    return moved


async def _enter(
    ports: Ports, record: Record, held: Alarm, *, again: bool, error: UpstreamError | None = None
) -> Record | tuple[Record, Alarm]:
    """Take a permit of a response's own upstream, or a place in the line there. `error` is what sent it there."""
    async with lease_renewal.holding(ports, held) as lease:
        turn = await turns.ask(ports, record, held, again=again)
    if turn:
        return await turns.wait(ports, record, lease.alarm, turn, str(error or ""))
    if lease.is_over or lease.is_past(ports.clock.now_ms()):
        return record  # the gate took so long that another process may have started the response
    return record, lease.alarm
