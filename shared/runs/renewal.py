"""The renewal of leases: the runs of a process renew theirs together, in one transaction for each shard."""

import asyncio
from collections.abc import Sequence

from shared.core.alarms import Alarm
from shared.core.errors import StoreError
from shared.core.ids import shard_of
from shared.runs.lease import Lost, RunLease
from shared.runtime.local_runs import HeldLease
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger

_log = logger(__name__)

RENEWED_AT = 1 / 3  # of its duration, a lease is renewed
JOINS_AT = 1 / 6  # of its duration, a lease is renewed with another one of its shard


async def keep(ports: Ports, lease: RunLease) -> None:
    """Renew a lease until cancelled, with others of its shard. Raise Lost if its alarm is no longer there."""
    ports.local.leases[lease] = None
    try:
        while not lease.is_lost:
            await ports.clock.sleep(ports.config.pace.renew_s)
            if lease.is_used(ports.clock.now_ms(), RENEWED_AT):
                await _renew(ports, lease)
    finally:
        ports.local.leases.pop(lease, None)
    raise Lost


async def _renew(ports: Ports, lease: RunLease) -> None:
    shard, now_ms = shard_of(lease.alarm.id), ports.clock.now_ms()
    others = [one for one in ports.local.leases if shard_of(one.alarm.id) == shard and one.is_used(now_ms, JOINS_AT)]
    moves = [(one, one.alarm.moved(now_ms + one.duration_ms, attempt=0)) for one in others]
    for one in others:
        one.is_moving = True
    try:
        moved = await ports.store.move(shard, [(one.alarm, following) for one, following in moves])
    except StoreError as error:
        _doubt(moves)
        _log.warning("run.unrenewed", extra={"response": lease.alarm.id, "error": type(error).__name__})
    except asyncio.CancelledError:  # its run is over, and the others are not
        _doubt(moves)
        raise
    else:
        done = {alarm.key: alarm for alarm in moved}
        for one, following in moves:
            one.note_renewal(done.get(following.key))
    finally:
        for one in others:
            one.is_moving = False


def _doubt(moves: Sequence[tuple[HeldLease, Alarm]]) -> None:
    for one, following in moves:
        one.doubt(following)
