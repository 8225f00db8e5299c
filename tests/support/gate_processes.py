"""Processes at one gate, on one table: what they do with permits, and what must be true after every transaction."""

import asyncio
from collections import Counter
from collections.abc import Coroutine, Sequence
from random import Random
from typing import Any

from shared.core.errors import StoreError, StoreUnavailable, UnreadableRow
from shared.core.gates import gate_keys
from shared.core.gates.plans import Changes
from shared.core.gates.state import Gate, GateState, Phase, Place, Turn
from shared.gates.gates import Gates
from shared.gates.tools import Listeners, Tools
from shared.runtime.background import BackgroundTasks
from shared.runtime.clock import SystemClock
from shared.storage.gates.gate_table import GateTable
from shared.storage.gates.rows import StoredGate
from shared.storage.table_client import Table
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.stage import Stage

SHORT_S = 0.5  # an agent's own waits are shorter, and real
NAME = "gpt"


class GateTime:
    """A wall clock that a test moves. Longer waits end when it has been moved far enough."""

    def __init__(self) -> None:
        self.ms = START_MS
        self._waits: list[tuple[int, asyncio.Event]] = []

    async def sleep(self, seconds: float) -> None:
        """Wait until the time has passed."""
        if seconds < SHORT_S:
            await asyncio.sleep(seconds)
            return
        wait = (self.ms + int(seconds * 1000), asyncio.Event())
        self._waits.append(wait)
        try:
            await wait[1].wait()
        finally:
            self._waits.remove(wait)

    @property
    def waits(self) -> int:
        """How many tasks wait for the clock."""
        return len(self._waits)

    def advance(self, seconds: float) -> None:
        """Move the clock, and end the waits that are over by then."""
        self.ms += int(seconds * 1000)
        for at_ms, is_over in self._waits:
            if at_ms <= self.ms:
                is_over.set()


class CheckedTable(GateTable):
    """Access to the table that checks the rows after every transaction, before the next one may begin."""

    def __init__(self, table: Table, world: "GateWorld") -> None:
        super().__init__(table)
        self._world = world

    async def commit(
        self, name: str, old: StoredGate | None, state: GateState | None, changes: Changes, write_id: str
    ) -> StoredGate | None:
        """Commit, and check what is then in the table. A process that is killed meanwhile does not stop the check."""

        async def checked() -> StoredGate | None:
            async with self._world.one_at_a_time:
                try:
                    return await super(CheckedTable, self).commit(name, old, state, changes, write_id)
                finally:
                    if not self._world.is_damaged:
                        await self._world.check()

        return await asyncio.shield(self._world.commits.start(checked(), self._world.note_failure))


class GateProcess:
    """A process: its gates, and the tasks that end with it."""

    def __init__(self, world: "GateWorld", table: GateTable, skew_ms: int) -> None:
        self.tasks = BackgroundTasks()
        self.is_dead = False
        self._world = world
        time = world.time
        tools = Tools(
            now_ms=lambda: time.ms + skew_ms,
            elapsed_s=SystemClock().elapsed_s,
            sleep=time.sleep,
            random=world.random,
            start=self.tasks.start,
        )
        self.gates = Gates(table, tools, Listeners(self._begin, self._note_closed, world.is_over))

    async def _begin(self, _gate: Gate, places: Sequence[Place]) -> None:
        for place in places:
            await self._world.begin(self, place)

    async def _note_closed(self, _gate: Gate, until_ms: int) -> None:
        self._world.closed.append(until_ms)

    async def kill(self) -> None:
        """Cut off everything that the process does."""
        self.is_dead = True
        tasks = self.tasks.tasks
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class GateWorld:
    """Responses and the processes that serve them.

    `at_work` are those whose create may have been sent, `over` those that have ended, and `order` the callers in the
    order of their starts. `turns` are the answers to those that had to wait.
    """

    def __init__(self, stage: Stage, limit: int | None) -> None:
        self.gate = Gate(NAME, limit)
        self.time = GateTime()
        self.stage = stage
        self.one_at_a_time = asyncio.Lock()
        self.processes: list[GateProcess] = []
        self.commits = BackgroundTasks()
        self.failures: list[BaseException] = []
        self.at_work: dict[str, Place] = {}
        self.asked: dict[str, Place] = {}
        self.over: set[str] = set()
        self.order: list[str] = []
        self.turns: dict[str, Turn] = {}
        self.closed: list[int] = []
        self.most_at_work = 0
        self.refuses = False
        self.cannot_be_read = False
        self.unreadable: set[str] = set()
        self.is_damaged = False
        self._used = 0
        self._chance = Random(7)
        self._read_table: Table | None = None

    def random(self) -> float:
        """Return a number for jitter that differs between the processes, and from call to call."""
        return self._chance.random()

    async def start(self, count: int = 3, *, is_checked: bool = True, skew_ms: Sequence[int] = (0, 0, 0)) -> None:
        """Add processes. Unless `is_checked` is false, the rows are checked after each of their transactions."""
        for number in range(count):
            table = await self.stage.table()
            access = CheckedTable(table, self) if is_checked else GateTable(table)
            self.processes.append(GateProcess(self, access, skew_ms[number % len(skew_ms)]))

    @property
    def first(self) -> GateProcess:
        """The first process that is alive."""
        return next(one for one in self.processes if not one.is_dead)

    def process(self, number: int) -> GateProcess:
        """Return one of the processes that are alive."""
        alive = [one for one in self.processes if not one.is_dead]
        return alive[number % len(alive)]

    def limit(self, limit: int | None) -> None:
        """Change the setting, for all processes."""
        self.gate = Gate(NAME, limit)

    async def stop(self) -> None:
        """Cut off all processes."""
        for process in self.processes:
            await process.kill()
        await asyncio.gather(*self.commits.tasks, return_exceptions=True)
        assert not self.failures

    def note_failure(self, error: BaseException) -> None:
        """Keep a failed check, also that of a process that was killed and gets no answer."""
        if isinstance(error, AssertionError):
            self.failures.append(error)

    # Responses

    async def ask(self, process: GateProcess, place: Place, *, again: bool = False) -> None:
        """Let a response ask for a permit, and begin its work if it gets one."""
        self.asked[place.id] = place
        turn = await process.gates.take(self.gate, place, again=again)
        if turn is None:
            await self.begin(process, place)
        else:
            self.turns[place.id] = turn

    async def begin(self, process: GateProcess, place: Place) -> None:
        """Send the create of a response that has a permit. The upstream may refuse it."""
        if process.is_dead or place.id in self.at_work:
            return
        if place.id in self.over:
            await process.gates.release(self.gate, place.id, place.caller)
        elif self.refuses:
            await process.gates.refuse(self.gate, place, retry_after_s=None, reason="rate_limit")
        else:
            self.at_work[place.id] = place
            self.order.append(place.caller)
            self.most_at_work = max(self.most_at_work, len(self.at_work))
            await process.gates.accepted(self.gate)

    async def end(self, process: GateProcess, place: Place) -> None:
        """End a response, and give back its permit."""
        self.at_work.pop(place.id, None)
        self.over.add(place.id)
        await process.gates.release(self.gate, place.id, place.caller)

    async def end_all(self) -> None:
        """End all work until every response that has asked is over. Each process ends what it can."""

        async def is_over() -> bool:
            ending = [self.end(self.process(number), one) for number, one in enumerate([*self.at_work.values()])]
            await asyncio.gather(*ending)
            return self.asked.keys() <= self.over

        await until(is_over, 60)

    async def recover(self) -> None:
        """Do what alarms and heartbeats do after a death, for a few minutes: ask again, and hold rounds."""
        for _ in range(4):
            self.time.advance(61)
            for place in [one for one in self.asked.values() if one.id not in {*self.over, *self.at_work}]:
                await self.ask(self.first, place, again=True)
            await self.first.gates.round(self.gate)
            await self.settle()

    async def settle(self) -> None:
        """Wait until no process has a task that does something else than wait for the clock."""
        quiet = 0

        async def is_quiet() -> bool:
            nonlocal quiet
            tasks = sum(len(one.tasks.tasks) for one in self.processes)
            quiet = quiet + 1 if tasks == self.time.waits else 0
            return quiet > 1

        await until(is_quiet)

    async def is_over(self, _gate: Gate, response_id: str) -> bool:
        """Return whether a response has ended, unless storage is away or its record cannot be read."""
        if self.cannot_be_read:
            raise StoreUnavailable
        if response_id in self.unreadable:
            raise UnreadableRow
        return response_id in self.over

    # The table

    async def rows(self) -> dict[str, dict[str, object]]:
        """Return the rows of the gate by row key."""
        table = await self._reader()
        found = await table.scan(gate_keys.gate_partition(NAME), "", "~", 20_000)
        return {str(row["RowKey"]): dict(row) for row in found}

    async def state(self) -> GateState | None:
        """Return the gate as it is stored."""
        stored = await GateTable(await self._reader()).read(NAME)
        return stored.state if stored else None

    async def check(self) -> None:
        """G1: the counts are those of the rows, and no transaction raises them above the limit."""
        access = GateTable(await self._reader())
        stored, holds, waiting = await asyncio.gather(access.read(NAME), access.holds(NAME), access.waiting(NAME))
        state = stored.state if stored else GateState()
        assert state.used == len(holds), "G1: used is the number of permits"
        assert {one.caller: one.waiting for one in state.lines.values() if one.waiting} == waiting
        running = Counter(one.place.caller for one in holds)
        assert {one.caller: one.running for one in state.lines.values() if one.running} == running
        assert self.gate.limit is None or state.used <= max(self._used, self.gate.limit), "G1: the limit"
        self._used = state.used

    async def is_quiet(self) -> bool:
        """Return whether the gate has neither permits nor places."""
        state = await self.state()
        return len(await self.rows()) <= 1 and (state is None or (state.used == 0 and state.phase is Phase.OPEN))

    async def _reader(self) -> Table:
        self._read_table = self._read_table or await self.stage.table()
        return self._read_table


def place(number: int, caller: str = "ann") -> Place:
    """Return a response. Higher numbers are younger."""
    created_ms = START_MS + number
    return Place(f"resp_{number:032x}", caller, created_ms, created_ms + 3_600_000, created_ms + 3_600_000)


async def ignoring_outages(*work: Coroutine[Any, Any, object]) -> None:
    """Wait for calls, some of which may fail because storage does."""
    for result in await asyncio.gather(*work, return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, StoreError):
            raise result
