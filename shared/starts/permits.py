"""Permits: a response gets one of the first upstream that has one free, or waits in the line of its first one.

Each gate is asked, because what this process knows of it may be old. A response enters a line only after all of them
have refused it. The record names an upstream before the response enters its line, or begins there. Otherwise a grant
that came between the two would be given back, as that of a response that passes another gate.
"""

from shared.core.alarms import Alarm
from shared.core.errors import StoreError, UpstreamError
from shared.core.gates.state import Turn
from shared.core.records import Record
from shared.runtime import lease_renewal
from shared.runtime.leases import Lease
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import put_off
from shared.starts import failed_starts, turns
from shared.starts.rerouting import Round
from shared.telemetry.logs import logger
from shared.upstreams.routes import Route

_log = logger(__name__)


async def take_permit(
    ports: Ports, round_: Round, record: Record, held: Alarm, *, again: bool
) -> Record | tuple[Record, Alarm]:
    """Take a permit for a start. Return the record and its `start` alarm, which may differ from `held`.

    Returns only the record if the response waits for its turn, or if another process may start it. `again`: it may have
    asked before. Raises StoreError, after which it may have a permit or a place. The try was not made then, so it is
    taken back.
    """
    if not round_.may_move(record, held.counted) or not ports.upstreams.others(record):
        return await _enter(ports, record, held, again=again)
    turn, route, lease = await _ask_all(ports, round_, record, held, again=again)
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


async def _ask_all(
    ports: Ports, round_: Round, record: Record, held: Alarm, *, again: bool
) -> tuple[Turn | None, Route | None, Lease]:
    """Ask the gate of a response, and the others if it has no permit free. Return also the lease, which is given up."""
    try:
        async with lease_renewal.holding(ports, held) as lease:
            turn = await turns.ask(ports, record, held, again=again, stays=False)
            route = await round_.free_elsewhere(record, again=again) if turn else None
    except StoreError as failed:
        await failed_starts.take_back(ports, lease.alarm, failed)
        raise
    return turn, route, lease


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
    except StoreError:
        return await _put_off(ports, there, alarm, error)
    return await _enter(ports, there, alarm, again=True, error=error)


async def give_back(ports: Ports, record: Record, held: Alarm, error: UpstreamError) -> Record | None:
    """Close the gate of an upstream that could not begin a response, which waits in its line from now on.

    Returns the record, or None if the error closes no gate, or if storage fails. Then the next try is as usual.
    """
    try:
        turn = await turns.refused(ports, record, held, error)
        return await turns.wait(ports, record, held, turn, str(error)) if turn else None
    except StoreError:
        return None


async def _moved(
    ports: Ports, round_: Round, record: Record, held: Alarm, route: Route, *, again: bool
) -> tuple[Record, Alarm] | None:
    """Give a response to an upstream, and have it leave the line where an earlier try may have put it."""
    try:
        moved = await round_.move_to(record, held, route)
    except StoreError as failed:
        await failed_starts.take_back(ports, held, failed)
        raise
    own = ports.upstreams.gate_of(record)
    if moved and again and own:
        await ports.gates.leave(own, turns.place_at(record, held))
    return moved


async def _enter(
    ports: Ports, record: Record, held: Alarm, *, again: bool, error: UpstreamError | None = None
) -> Record | tuple[Record, Alarm]:
    """Take a permit of a response's own upstream, or a place in the line there. `error` is what sent it there."""
    try:
        async with lease_renewal.holding(ports, held) as lease:
            turn = await turns.ask(ports, record, held, again=again)
        if turn:
            return await turns.wait(ports, record, lease.alarm, turn, str(error or ""))
    except StoreError as failed:
        if error:
            return await _put_off(ports, record, lease.alarm, error)
        await failed_starts.take_back(ports, lease.alarm, failed)
        raise
    if lease.is_over or lease.is_past(ports.clock.now_ms()):
        return record  # the gate took so long that another process may have started the response
    return record, lease.alarm


async def _put_off(ports: Ports, record: Record, held: Alarm, error: UpstreamError) -> Record:
    """Leave a response that waits after `error` to its alarm. The try that the alarm counts has begun nothing."""
    return await put_off(ports, record, held, held.due_ms, error, counted=max(0, held.counted - 1)) or record
