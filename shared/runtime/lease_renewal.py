"""The renewal of leases: one task per process moves all alarms that it holds, in one transaction for each shard.

A response that ends before its lease is renewed costs no request for it. Hand-overs go with the same transactions.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from shared.core.alarms import Alarm
from shared.core.errors import StoreError
from shared.core.ids import shard_of
from shared.runtime.leases import HandOver, Lease
from shared.runtime.ports import Ports
from shared.storage.store import MOVES_PER_TRANSACTION
from shared.telemetry import tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

GATHER_S = 0.05  # hand-overs that are decided within this time go with one transaction


def hold(ports: Ports, alarm: Alarm) -> Lease:
    """Hold an alarm that this process has just written or moved, and renew it from now on."""
    lease = ports.leases.add(alarm)
    if not ports.leases.is_kept:
        ports.leases.is_kept = True
        with tracing.under(""):  # the task serves all responses
            ports.background.start(_keep(ports), _log_failure)
    return lease


@asynccontextmanager
async def holding(ports: Ports, alarm: Alarm) -> AsyncIterator[Lease]:
    """Hold an alarm until the end of the block. After that, `alarm` of the lease is the alarm as it stands."""
    lease = hold(ports, alarm)
    try:
        yield lease
    finally:
        async with lease.writing:
            ports.leases.drop(lease)


async def hand_over(ports: Ports, lease: Lease, due_ms: int, **changes: Any) -> None:
    """Set the alarm of a lease to a time in unix milliseconds and have its shard swept then.

    `changes` are other attributes of the alarm. Returns when the lease is over. It stays as it is if storage does not
    answer until its time is past.
    """
    lease.hand_over = HandOver(due_ms, changes)
    ports.leases.want()
    while not lease.is_over and not lease.is_past(ports.clock.now_ms()):
        await lease.stir(ports.config.pace.renewal_s)


async def _keep(ports: Ports) -> None:
    """Renew the leases of this process until it holds none."""
    try:
        while ports.leases:
            _begin_pass(ports)
            if await ports.leases.wanted(ports.config.pace.renewal_s):
                await ports.clock.sleep(GATHER_S)
    finally:
        ports.leases.is_kept = False


def _begin_pass(ports: Ports) -> None:
    """Begin to move what is to be moved now. A shard that storage does not serve holds up no other."""
    shards = defaultdict[str, list[Lease]](list)
    for lease in ports.leases.to_move(ports.clock.now_ms()):
        shards[shard_of(lease.alarm.id)].append(lease)
    for shard, leases in shards.items():
        for start in range(0, len(leases), MOVES_PER_TRANSACTION):
            ports.background.start(_move(ports, shard, leases[start : start + MOVES_PER_TRANSACTION]), _log_failure)


async def _move(ports: Ports, shard: str, leases: Sequence[Lease]) -> None:
    async with AsyncExitStack() as locks:
        free = [lease for lease in leases if not lease.writing.locked()]
        for lease in free:
            await locks.enter_async_context(lease.writing)
        now_ms = ports.clock.now_ms()
        moves = {lease: lease.moved(now_ms) for lease in free if lease.is_to_move(now_ms)}
        try:
            moved = await ports.store.move(shard, [(lease.alarm, following) for lease, following in moves.items()])
        except StoreError:
            _log.warning("leases.unmoved", extra={"shard": shard})
            for lease, following in moves.items():
                lease.doubtful = following
            return  # the next pass tries again
        done = {alarm.key: alarm for alarm in moved}
        for lease, following in moves.items():
            _note(ports, lease, done.get(following.key))
    handed_over = [alarm.due_ms for lease, alarm in moves.items() if lease.hand_over and alarm.key in done]
    for at_s in sorted({-(-due_ms // 1000) for due_ms in handed_over}):
        await ports.wakeups.sweep(shard, at_s * 1000)


def _note(ports: Ports, lease: Lease, moved: Alarm | None) -> None:
    if moved:
        lease.alarm, lease.doubtful = moved, None
        if lease.hand_over:
            lease.finish()
    elif lease.doubtful:
        lease.alarm, lease.doubtful = lease.doubtful, None  # an earlier move was carried out, so move it from there
        ports.leases.want()
    else:
        lease.finish()


def _log_failure(error: BaseException) -> None:
    _log.error("leases.failed", exc_info=error)
