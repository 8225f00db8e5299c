"""Two processes make thousands of deliveries under random faults. None is lost, and none is made twice.

`DELIVERIES` in the environment sets their number. The default of 4,000 fits into two and a half minutes. It took 99 s
on two nearly idle cores, half of it in this process. A run of 10,000 does not fit: it took 18 minutes beside five other
loads.

`CHAOS_SEED` repeats the answers of every receiver. Which request is lost, and in which process, depends on the order in
which the requests are made.
"""

import asyncio
import os
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from azure.core.pipeline.transport import AioHttpTransport

from shared.contract.callers import Caller, Callers, SigningSecret
from shared.core.errors import StoreError
from shared.core.ids import SHARDS
from shared.core.records import Record, Target
from shared.engine import Engine
from shared.runtime.ports import Ports
from shared.storage import codec
from shared.storage.messages import Wakeup
from shared.storage.store import Store
from shared.storage.table_client import Table
from shared.transitions.response_transitions import DAY_MS
from tests.support.clocks import START_MS
from tests.support.delivery_load import CALLERS, Carrier, Course, Fleet, LossyTable, courses, plant
from tests.support.stage import SECRET, Say, Stage

COUNT = int(os.environ.get("DELIVERIES") or 4_000)
DEATHS_COUNT = 400
LOSSES = 0.01
STEP_MS = 60_000  # alarms due within a minute are handled together: they may be late, never early
PURGE_MS = START_MS + 30 * DAY_MS


@dataclass(frozen=True)
class Process:
    """A process that makes deliveries: its engine, its sender and its table client."""

    engine: Engine
    carrier: Carrier
    table: LossyTable

    async def sweep(self, shards: Sequence[str]) -> None:
        """Sweep these shards one after another, each until nothing is due."""
        for shard in shards:
            while await _as_a_trigger(self.engine.sweep(Wakeup(shard, 0))) != 0:
                pass


async def _as_a_trigger(work: Awaitable[int | None]) -> int | None:
    """Return the result of the work. Drop a storage error, as triggers do, because the alarm remains."""
    try:
        return await work
    except StoreError:
        return None


@dataclass
class Deployment:
    """All deliveries of a test, and the processes that make them. A process that crashes is replaced."""

    stage: Stage
    connection: str
    table: Table
    rng: random.Random
    count: int
    lost: Counter[str] = field(default_factory=Counter)
    orphans: set[str] = field(default_factory=set)  # URLs whose final answer was unrecorded when their process crashed
    crashes: int = 0
    rounds: int = 0

    def __post_init__(self) -> None:
        self.planned = courses(self.count, self.rng)
        self.fleet = Fleet(self.planned, self.stage.clock, self.rng)
        self.processes: list[Process] = []

    async def add_process(self, *, crashes_at: int = 0) -> None:
        """Add a process. `crashes_at` is the number of the POST at which it crashes, 0 for never."""
        transport = AioHttpTransport(use_env_settings=False)  # as the service does, which halves the time
        table = LossyTable.from_connection_string(self.connection, "responses", retry_total=0, transport=transport)
        assert isinstance(table, LossyTable)
        table.rng, table.share, table.lost = self.rng, LOSSES, self.lost
        carrier = Carrier(self.fleet, crashes_at=crashes_at)
        ports = Ports(
            store=Store(table),
            wakeups=self.stage.ports.wakeups,
            requests=self.stage.ports.requests,
            upstreams=self.stage.ports.upstreams,
            gates=self.stage.ports.gates,
            senders={Target.CALLBACK: carrier, Target.REPLY_QUEUE: self.stage.replies},
            callers=Callers([Caller(name, (), (SigningSecret(SECRET),)) for name in CALLERS]),
            clock=self.stage.clock,
            random=self.rng.random,
        )
        self.processes.append(Process(Engine(ports), carrier, table))

    async def aclose(self) -> None:
        """Close every connection."""
        for process in self.processes:
            await process.table.close()

    async def work_off(self) -> None:
        """Make all deliveries, each when its alarm is due."""
        while (due_ms := await self._first_due()) < PURGE_MS:
            self.stage.clock.ms = max(self.stage.clock.ms, due_ms) + STEP_MS
            await self._at_once(lambda process: process.sweep(self.rng.sample(SHARDS, len(SHARDS))))
            self.rounds += 1

    async def _first_due(self) -> int:
        """Return when the next alarm is due, in unix ms."""
        store = Store(self.table)
        return min([await store.first_due(shard) or PURGE_MS for shard in SHARDS])

    async def _at_once(self, work: Callable[[Process], Awaitable[None]]) -> None:
        """Run the work in all processes at once, until each has finished or crashed."""
        tasks = [asyncio.ensure_future(work(process)) for process in self.processes]
        for process, task in zip(self.processes, tasks, strict=True):
            process.carrier.process = task
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        for process, outcome in zip(list(self.processes), outcomes, strict=True):
            if isinstance(outcome, asyncio.CancelledError):
                await self._replace(process)
            elif outcome:
                raise outcome

    async def _replace(self, process: Process) -> None:
        """Replace a process that has crashed, and add the deliveries that it left unrecorded to the orphans."""
        self.crashes += 1
        for one in self.planned:
            if one.url in process.carrier.sent and one.url in self.fleet.over and await self._is_open(one):
                self.orphans.add(one.url)
        self.processes.remove(process)
        await process.table.close()
        await self.add_process()

    async def _is_open(self, course: Course) -> bool:
        record = await Store(self.table).read(course.id)
        return record is not None and record.deliveries[0].is_open

    async def check(self) -> int:
        """Assert that every delivery has ended as planned. Return the number of recorded attempts."""
        found, attempts = await self._stored()
        states = {one.id: found[one.id].deliveries[0].state for one in self.planned}
        assert states == {one.id: one.end for one in self.planned}
        assert self.fleet.webhook_ids == {one.url: {one.webhook_id} for one in self.planned}, "lost, or two ids"
        return attempts

    async def _stored(self) -> tuple[dict[str, Record], int]:
        found, attempts = dict[str, Record](), 0
        for shard in SHARDS:
            rows = await self.table.scan(shard, "resp|", "resp|~", 1_000_000, ("RowKey", "facts"))
            for row in rows:
                _, response_id, *child = row["RowKey"].split("|")
                if child:
                    attempts += 1
                else:
                    found[response_id] = codec.decode_record(row["facts"], body=b"", write_id="", etag=row.etag)
        return found, attempts

    def figures(self, attempts: int, elapsed_s: float) -> str:
        """Return a summary of the run."""
        ends = Counter(one.end for one in self.planned)
        return (
            f"{self.count} deliveries: {ends['delivered']} delivered, {ends['gone']} gone, "
            f"{self.fleet.posts.total()} POSTs, {attempts} attempts recorded, "
            f"{self.fleet.repeats.total()} duplicates, {self.crashes} crashes, "
            f"lost {dict(self.lost)}, {self.rounds} rounds, {elapsed_s:.0f} s"
        )


@asynccontextmanager
async def deployment(stage: Stage, connection: str, seed: int, count: int) -> AsyncIterator[Deployment]:
    """Write the responses of this number of deliveries, and yield the deployment that makes them."""
    async with Table.from_connection_string(connection, "responses") as table:
        assert isinstance(table, Table)
        opened = Deployment(stage, connection, table, random.Random(seed), count)
        await plant(table, opened.planned)
        yield opened
        await opened.aclose()


@pytest.mark.timeout(1_800)
async def test_thousands_are_delivered_once_each(stage: Stage, connection_string: str, seed: int, say: Say) -> None:
    """Two processes make each delivery once under losses of every kind, and each ends as its receiver answers.

    Every POST is noted, although storage loses one request and one answer in a hundred.
    """
    began = time.monotonic()
    async with deployment(stage, connection_string, seed, COUNT) as all_of_them:
        await all_of_them.add_process()
        await all_of_them.add_process()
        await all_of_them.work_off()
        attempts = await all_of_them.check()
        say(all_of_them.figures(attempts, time.monotonic() - began))
        assert all_of_them.fleet.repeats.total() == 0
        assert attempts == all_of_them.fleet.posts.total()


async def test_only_a_crash_causes_a_duplicate(stage: Stage, connection_string: str, seed: int, say: Say) -> None:
    """A delivery is repeated only if its final answer was not recorded when its process crashed.

    Three processes crash in the middle of their POSTs.
    """
    began = time.monotonic()
    async with deployment(stage, connection_string, seed, DEATHS_COUNT) as all_of_them:
        for crashes_at in (DEATHS_COUNT // 8, DEATHS_COUNT // 4, DEATHS_COUNT // 3):
            await all_of_them.add_process(crashes_at=crashes_at)
        await all_of_them.work_off()
        attempts = await all_of_them.check()
        say(all_of_them.figures(attempts, time.monotonic() - began))
        assert all_of_them.crashes
        assert set(all_of_them.fleet.repeats) <= all_of_them.orphans
