"""Processes of the service in the model: the product's code, whose calls to the outside can fail or be its last."""

import asyncio
from collections.abc import Callable, Coroutine
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import aiohttp
from azure.core.exceptions import ServiceResponseError

from shared.contract.callers import Callers
from shared.core.records import Target
from shared.engine import Engine
from shared.gates.gates import Gates
from shared.gates.tools import Tools
from shared.runtime.background import BackgroundTasks
from shared.runtime.config import Config, Limits, Rules
from shared.runtime.ports import Ports
from shared.storage.gates.gate_table import GateTable
from shared.storage.messages import HINTS
from shared.storage.request_queue import RequestQueue
from shared.storage.store import Store
from shared.storage.wakeups import Wakeups
from shared.storage.wire import Answer
from shared.upstreams.routes import Route, Upstreams
from tests.model.peers import Line, Peer
from tests.model.receiver import Mailbox, Post
from tests.support.fakes.queue_service import FakeQueues, QueueService, QueueTrouble
from tests.support.fakes.table_service import TableService
from tests.support.fakes.table_wire import FakeTable, TableRequest
from tests.support.stage import ANN, BOB
from tests.support.virtual_time import VirtualClock, VirtualLoop

DEADLINE_MS = 900_000
RETENTION_MS = 108_000_000  # longer than any schedule of deliveries that the model lets happen
BEFORE, AFTER, LOST, LATE, BUSY = "crash before", "crash after", "answer lost", "late", "busy"
FAULTS = (BEFORE, AFTER, LOST, LATE, BUSY)

_owner: ContextVar["Process"] = ContextVar("owner")


@dataclass
class Surroundings:
    """What all processes share: the loop, storage, the upstreams, the receiver, and chance."""

    loop: VirtualLoop
    tables: TableService
    queues: QueueService
    peers: tuple[Peer, ...]
    mailbox: Mailbox
    random: Random
    is_away: Callable[[], bool]  # whether storage is
    died: Callable[["Process"], None]
    slow: float = 1.0  # how long calls take

    def latency_s(self) -> float:
        """Return how long a call to storage takes one way."""
        return self.slow * (0.2 if self.random.random() < 0.05 else 0.002 + 0.01 * self.random.random())


class Process(QueueTrouble):
    """A process. From its death on, nothing that it does reaches the outside."""

    def __init__(self, around: Surroundings, number: int, skew_ms: int) -> None:
        self.number = number
        self.clock = VirtualClock(around.loop, skew_ms)
        self.is_dead = False
        self.tasks: dict[asyncio.Task[Any], None] = {}
        self.fault: tuple[int, str] | None = None  # at which of its next writes something happens, and what
        self._around = around
        self._thawed = asyncio.Event()
        self._thawed.set()
        self.ports = self._made_ports()
        self.engine = Engine(self.ports)

    @property
    def is_frozen(self) -> bool:
        """Whether its calls wait."""
        return not self._thawed.is_set()

    def freeze(self) -> None:
        """Let none of its calls get through until it is thawed. Its clock goes on."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Let its calls go on."""
        self._thawed.set()

    def kill(self) -> None:
        """Cut off everything that it does, as kill -9 does."""
        self.is_dead = True
        self._thawed.set()
        for task in self.tasks:
            task.cancel()
        self._around.died(self)

    def spawn(self, work: Coroutine[Any, Any, Any]) -> "asyncio.Task[Any]":
        """Start a task of this process. All tasks that it starts die with the process."""
        context = copy_context()
        context.run(_owner.set, self)
        return context.run(self._around.loop.create_task, work)

    async def leave(self, seconds: float | None = None) -> None:
        """Let a call of this process go out, or its answer come in. After its death, nothing does."""
        if not self.is_dead:
            await asyncio.sleep(self._around.latency_s() if seconds is None else seconds)
            await self._thawed.wait()
        if self.is_dead:
            raise asyncio.CancelledError

    async def meet(self) -> None:
        """Carry a call to a queue. It fails while storage is away."""
        await self.leave()
        if self._around.is_away():
            raise ServiceResponseError("storage is away")

    async def carry(self, request: TableRequest) -> Answer:
        """Carry a request to the table, with what happens to it on the way."""
        await self.leave()
        if self._around.is_away():
            raise aiohttp.ServerDisconnectedError
        answer = self._carried(request, self._next_fault() if request.is_write else "")
        await self.leave()
        if answer is None:
            raise aiohttp.ServerDisconnectedError
        return answer

    def _carried(self, request: TableRequest, fault: str) -> Answer | None:
        if fault == BUSY:
            return Answer(503, {}, b"")
        if fault == LATE:
            self._around.loop.call_later(4 * self._around.random.random(), request.carry_out)
            return None
        answer = request.carry_out() if fault != BEFORE else None
        if fault in (BEFORE, AFTER):
            self.kill()
        return None if fault == LOST else answer

    def _next_fault(self) -> str:
        if self.fault is None:
            return ""
        left, kind = self.fault
        self.fault = (left - 1, kind) if left > 1 else None
        return kind if left <= 1 else ""

    def _made_ports(self) -> Ports:
        around, clock, background = self._around, self.clock, BackgroundTasks()
        table = FakeTable(around.tables, self)
        queues = cast("Any", FakeQueues(around.queues, self))
        tools = Tools(clock.now_ms, clock.elapsed_s, clock.sleep, around.random.random, background.start)
        post = cast("Any", Post(around.mailbox, self))
        return Ports(
            store=Store(table),
            gates=Gates(GateTable(table), tools),
            background=background,
            wakeups=Wakeups({name: queues.get_queue_client(name) for name in HINTS}, clock.now_ms),
            requests=RequestQueue(queues),
            upstreams=Upstreams([Route(cast("Any", Line(peer, self)), peer.spec) for peer in around.peers]),
            senders={Target.CALLBACK: post, Target.REPLY_QUEUE: post},
            callers=Callers((ANN, BOB)),
            clock=clock,
            random=around.random.random,
            config=Config(
                limits=Limits(deadline_ms=DEADLINE_MS, retention_ms=RETENTION_MS),
                rules=Rules(requests_caller=ANN.name),
            ),
        )


def owned_task(loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
    """Make a task that belongs to the process whose task starts it: the loop's factory of tasks."""
    task: asyncio.Task[Any] = asyncio.Task(work, loop=loop, **options)
    if process := _owner.get(None):
        process.tasks[task] = None
        task.add_done_callback(lambda over: process.tasks.pop(over, None))
    return task
