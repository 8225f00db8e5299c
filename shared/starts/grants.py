"""Grants: a response that has waited at a gate gets a permit, and is started by the process that has granted it.

If that process dies, its `start` alarm fires within 30 s, or the next round of the gate reports the grant again.
"""

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial

from shared.core import keys
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.errors import StoreError, UnreadableRow
from shared.core.gates.state import Gate, Place
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.core.states import Status
from shared.gates.tools import Listeners
from shared.lifecycle.endings import DEADLINE_EXCEEDED
from shared.runtime.ports import Ports
from shared.starts import submission
from shared.storage import codec
from shared.telemetry import tracing
from shared.telemetry.logs import logger

STOPPING_MS = 300_000
AT_ONCE = 16  # starts that follow grants in one process. Sweeps make the others
AGAIN_S = (0.25, 1.0, 4.0)  # waits before a grant is looked at again that came before its response was written
SHARD = "0"  # whose wake-up has a process awake when a gate allows more

_log = logger(__name__)


def listeners(ports: Ports) -> Listeners:
    """Return what the gates of this process tell and ask."""
    starter = Starter(ports)

    async def on_closed(_gate: Gate, until_ms: int) -> None:
        """Have a process awake at that time."""
        await ports.wakeups.sweep(SHARD, until_ms)

    return Listeners(starter.start_granted, on_closed, partial(is_over, ports))


async def is_over(ports: Ports, gate: Gate, response_id: str) -> bool:
    """Return whether a response needs no permit of a gate: it has ended, or it passes another gate by now.

    One that was ended from outside has five minutes to be stopped.
    """
    return _is_over(ports, gate, await ports.store.read(response_id, with_body=False))


def _is_over(ports: Ports, gate: Gate, record: Record | None) -> bool:
    own = ports.upstreams.gate_of(record) if record else None
    if record is None or own is None or own.name != gate.name:
        return True
    if not record.status.is_terminal:
        return False
    was_stopped = record.status is Status.CANCELLED or record.error == DEADLINE_EXCEEDED
    is_stopping = was_stopped and record.upstream.token is not None
    return not is_stopping or ports.clock.now_ms() >= record.ended_ms + STOPPING_MS


class Starter:
    """Starts what gates grant, as far as this process has room. Sweeps start the rest."""

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._running = 0
        self._reads = asyncio.Semaphore(AT_ONCE)

    async def start_granted(self, gate: Gate, places: Sequence[Place]) -> None:
        """Move the `start` alarms of responses that have a permit now from their deadline, and start them.

        A response whose alarm is not there has ended, and gives its permit back, or another process starts it, or has
        not written yet that it waits. So it is looked at again a few times. Raises nothing of storage. A round of the
        gate reports a grant again.
        """
        await self._start_granted(gate, places, AGAIN_S)

    async def _start_granted(self, gate: Gate, places: Sequence[Place], waits_s: Sequence[float]) -> None:
        shards, early = defaultdict[str, list[Place]](list), list[Place]()
        for place in places:
            shards[shard_of(place.id)].append(place)
        await asyncio.gather(*(self._start_shard(gate, shard, granted, early) for shard, granted in shards.items()))
        if early and waits_s:
            self._ports.background.start(self._look_again(gate, early, waits_s))

    async def _look_again(self, gate: Gate, places: Sequence[Place], waits_s: Sequence[float]) -> None:
        await self._ports.clock.sleep(waits_s[0])
        await self._start_granted(gate, places, waits_s[1:])

    async def _start_shard(self, gate: Gate, shard: str, granted: Sequence[Place], early: list[Place]) -> None:
        ports = self._ports
        alarms = await asyncio.gather(*(self._alarm_of(gate, place, early) for place in granted))
        now_ms = ports.clock.now_ms()
        moves = [(alarm, self._moved(alarm, now_ms)) for alarm in alarms if alarm]
        here = {moved.id for _, moved in moves if moved.due_ms > now_ms + 1}
        started = list[Alarm]()
        try:
            moved = await ports.store.move(shard, moves)
            started = [alarm for alarm in moved if alarm.id in here]
            if len(started) < len(moved):
                await ports.wakeups.sweep(shard, now_ms)
        except StoreError as error:
            _log.warning("gate.grants_unstarted", extra={"reason": type(error).__name__})
        self._running -= len(here) - len(started)
        await asyncio.gather(*(self._start(alarm) for alarm in started))

    def _moved(self, alarm: Alarm, now_ms: int) -> Alarm:
        """Return the alarm as the lease of a start that follows here, or as due now for a sweep."""
        if not self._ports.config.limits.watch or self._running >= AT_ONCE:
            return alarm.at(now_ms)
        self._running += 1
        return alarm.at(now_ms + LEASE_MS[Kind.START], counted=alarm.counted + 1)

    async def _alarm_of(self, gate: Gate, place: Place, early: list[Place]) -> Alarm | None:
        """Return the `start` alarm that stands at the deadline of a response, or None.

        If its record may not say yet that it waits, its place is added to `early`.
        """
        async with self._reads:
            try:
                if found := await _read_alarm(self._ports, place):
                    return found
                record = await self._ports.store.read(place.id, with_body=False)
            except (StoreError, UnreadableRow) as error:
                _log.warning("gate.grants_unstarted", extra={"reason": type(error).__name__})
                return None
        if _is_over(self._ports, gate, record):
            # beside this, because the gate may wait for what follows its grants before it serves another wish
            self._ports.background.start(self._give_back(gate, place))
        elif record and record.status is Status.QUEUED and not record.upstream.token:
            early.append(place)
        return None

    async def _give_back(self, gate: Gate, place: Place) -> None:
        """Give back a permit. If that fails, the audit of a round does it."""
        try:
            await self._ports.gates.release(gate, place.id, place.caller)
        except StoreError as error:
            _log.warning("gate.permit_kept", extra={"response_id": place.id, "reason": type(error).__name__})

    async def _start(self, alarm: Alarm) -> None:
        try:
            with tracing.under(alarm.trace):
                await submission.on_start_alarm(self._ports, alarm)
        except StoreError as error:  # its alarm goes on
            _log.warning("alarm.unfinished", extra={"key": alarm.key, "error": type(error).__name__})
        except Exception:  # noqa: BLE001 - the edge between one response and the others
            _log.exception("alarm.failed", extra={"key": alarm.key, "attempt": alarm.attempt})
        finally:
            self._running -= 1


async def _read_alarm(ports: Ports, place: Place) -> Alarm | None:
    key = keys.alarm_key(place.start_due_ms, Kind.START, place.id)
    row = await ports.store.find(place.id, key)
    try:
        return codec.decode_alarm(key, row["facts"], row.etag) if row else None
    except UnreadableRow:
        _log.exception("alarm.unreadable", extra={"key": key})
        return None
