"""Holding a run: the lease that is renewed, and the record that is written only while nobody else holds a newer one."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from shared.core import run_transitions
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.changesets import Write
from shared.core.errors import StoreError
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.core.run_transitions import Whose
from shared.core.states import Status
from shared.lifecycle import completion
from shared.runtime.ports import World
from shared.runtime.unit_of_work import Plan, decide
from shared.telemetry.logs import logger

_log = logger(__name__)
_PAUSE_S = 1.0
_LOOK_MIN_S = 0.02
HOLD_MAX_MS = 21_000_000  # an invocation is ended after `functionTimeout`, which is 6 h
T = TypeVar("T")


class Lost(Exception):
    """The run is somebody else's, or over."""


class Lease:
    """A run that this process holds: its record as last known, and the alarm that rings if it stops renewing."""

    def __init__(self, world: World, record: Record, alarm: Alarm) -> None:
        self._world = world
        self._writing = asyncio.Lock()
        self._seen_s = _now_s()
        self._unconfirmed: Alarm | None = None  # where a renewal whose outcome is not known may have moved the alarm
        self._until_ms = min(record.deadline_ms, world.now_ms() + HOLD_MAX_MS)
        self.record = record
        self.alarm = alarm
        self.concluded = asyncio.Event()  # not while an end is being written
        self.concluded.set()
        self._is_given_up = False

    async def write(self, plan: Callable[[Record], Write | None], *, gives_up: bool = False) -> None:
        """Write what the plan says of the record, however long storage is away; raise Lost if the run is not ours.

        To give up is to let the alarm go in the same transaction.
        """

        def fenced(current: Record) -> Write | None:
            if self._is_given_up or current.epoch != self.record.epoch or current.status.is_terminal:
                raise Lost
            return plan(current)

        self._note(await self._decided(fenced, gives_up=gives_up))
        self._is_given_up = gives_up

    async def begin(self, token: str | None, status: Status, *, live: bool, continues: bool = False) -> bool:
        """Note what the upstream calls the work; say whether it is the work of this response. Raises Lost."""
        whose, epoch = Whose.LOST, self.record.epoch
        replays = self._world.upstreams.of(self.record.model).replays

        def plan(current: Record) -> Write | None:
            nonlocal whose
            if continues:
                write, whose = run_transitions.continued(current, epoch)
            else:
                now_ms = self._world.now_ms()
                write, whose = run_transitions.begun(current, epoch, token, status, now_ms, replays=replays, live=live)
            return write

        there = await self._decided(plan)
        if whose is Whose.LOST:
            raise Lost
        self._note(there)
        return whose is Whose.OURS

    async def end(self, how: completion.Decide) -> None:
        """End the response, however long storage is away, unless the run is not ours any more."""
        held = self.record
        self.concluded.clear()
        try:
            await self.insist(lambda: completion.end(self._world, None, held.id, how, self.alarm, epoch=held.epoch))
        finally:
            self.concluded.set()

    async def _decided(self, plan: Plan, *, gives_up: bool = False) -> Record | None:
        async with self._writing:
            return await self.insist(
                lambda: decide(self._world, self.record, self.record.id, plan, self.alarm if gives_up else None)
            )

    async def insist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Do it, again and again while storage is away."""
        while True:
            try:
                return await act()
            except StoreError as error:
                _log.warning("run.unwritten", extra={"response": self.record.id, "error": type(error).__name__})
                await self._world.sleep(_PAUSE_S)

    async def renew(self) -> None:
        """Renew the lease again and again, events or not; raise Lost when another has moved the alarm."""
        while True:
            await self._world.sleep(self._world.pace.renew_s)
            try:
                await self._renew()
            except StoreError as error:
                _log.warning("run.unrenewed", extra={"response": self.record.id, "error": type(error).__name__})

    async def watch(self) -> None:
        """Look at the record again and again, at least every second: raise Lost, or end what is past its deadline."""
        while True:
            await self._world.sleep(max(self._seen_s + self._world.pace.watch_s - _now_s(), _LOOK_MIN_S))
            if self._world.now_ms() >= self._until_ms:
                await self.end(completion.deadline(self._world.now_ms()))
                raise Lost
            if _now_s() - self._seen_s >= self._world.pace.watch_s:
                await self._look()

    async def hand_over(self, due_ms: int | None = None) -> None:
        """Give the run up and ask for another holder, at once or at that time; raise Lost."""
        now_ms = self._world.now_ms()

        def plan(current: Record) -> Write:
            if due_ms is None:
                return run_transitions.granted(current, self.alarm, now_ms)
            is_taken = due_ms == self.alarm.due_ms  # by the alarm that goes in the same transaction
            return run_transitions.released(current, due_ms + is_taken, now_ms)

        await self.write(plan, gives_up=True)

    async def _renew(self) -> None:
        for held in (self.alarm, self._unconfirmed):
            if held is None:
                continue
            following = held.moved(self._world.now_ms() + LEASE_MS[Kind.RUN], attempt=0)
            try:
                if await self._world.store.move(shard_of(self.record.id), [(held, following)]):
                    self.alarm, self._unconfirmed = following, None
                    return
            except StoreError:
                self._unconfirmed = following
                raise
        raise Lost

    async def _look(self) -> None:
        try:
            there = await self._world.store.read(self.record.id, with_body=False)
        except StoreError:
            return  # the lease, too, cannot be taken by anybody now
        if there is None or there.epoch != self.record.epoch or there.status.is_terminal:
            raise Lost
        self._seen_s = _now_s()

    def _note(self, record: Record | None) -> None:
        if record is None:
            raise Lost
        self.record = record
        self._seen_s = _now_s()


def _now_s() -> float:
    return asyncio.get_running_loop().time()
