"""The world of the model: processes of the service on one storage, their upstreams, callers, messages and faults.

Time is that of a virtual loop, and chance comes from one seed. So a list of steps gives the same run every time.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from random import Random
from typing import Any, cast

import orjson

from shared.contract.signatures import signed_headers
from shared.core.alarms import alarm_of
from shared.core.errors import ServiceError, StoreError
from shared.core.gates import gate_keys
from shared.core.ids import SHARDS
from shared.storage.messages import HINTS, RUNS, WAKEUPS, RunOffer, Wakeup
from shared.upstreams.specs import UpstreamSpec
from tests.model.audit import TABLE, Audit, holds
from tests.model.clients import Callers, Life
from tests.model.peers import Peer, Work
from tests.model.processes import Process, Surroundings, owned_task
from tests.model.receiver import Mailbox
from tests.support.fakes.queue_service import Message, QueueService
from tests.support.fakes.table_service import TableService
from tests.support.virtual_time import VirtualLoop

PROCESSES = 2  # or one more, as chance decides
LIMIT = 2
GATED, HOOKED, PLAIN, KEYED = "gated", "hooked", "plain", "default"
MODELS = {KEYED: "model", GATED: "gated", HOOKED: "hooked", PLAIN: "plain"}
HOOK_SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
BEAT_S = 60.0
HIDDEN_S = 600  # while a function has a message
PEERS = (
    UpstreamSpec(GATED, (MODELS[GATED],), honours_keys=True, limits={"*": LIMIT}),
    UpstreamSpec(HOOKED, (MODELS[HOOKED],), honours_keys=True, webhook_secrets=(HOOK_SECRET,)),
    UpstreamSpec(PLAIN, (MODELS[PLAIN],), is_background=False),
    UpstreamSpec(honours_keys=True),
)
_FAILURES = tuple(f'"{name}"' for name in ("alarm.failed", "watch.failed", "run.failed", "heartbeat.failed"))


class World:
    """Everything. `failures` are the invariants that did not hold, and what the product did not expect."""

    def __init__(self, seed: int) -> None:
        self.loop = VirtualLoop()
        self.loop.set_task_factory(cast("Any", owned_task))
        self.loop.set_exception_handler(self._note_exception)
        self.failures: list[BaseException] = []
        self.random = Random(seed)
        self.faults = 0  # what may make a start or an attempt happen twice
        self.chaos = True  # messages may be lost, repeated or late
        self.away_until_s = 0.0
        self.tables = TableService(page_rows=5)
        self.queues = QueueService(self.loop.time, self._when_visible)
        self.peers = {spec.name: Peer(spec) for spec in PEERS}
        self.audit = Audit(self.tables, {gate_keys.gate_partition(GATED): LIMIT})
        self.callers = Callers(self.audit)
        self.mailbox = Mailbox(self._take_event)
        self.around = Surroundings(
            self.loop,
            self.tables,
            self.queues,
            tuple(self.peers.values()),
            self.mailbox,
            self.random,
            lambda: self.loop.time() < self.away_until_s,
            self._note_death,
        )
        self.processes: list[Process] = []
        self.tables.create_table(TABLE)
        for name in HINTS:
            self.queues.create(name)
        self.loop.run_until_complete(self._begin())

    async def _begin(self) -> None:
        for number in range(PROCESSES + self.random.randrange(2)):
            self.processes.append(Process(self.around, number, (0, 700, -700)[number]))
        self.loop.call_later(BEAT_S, self._beat)

    # Steps

    def run(self, seconds: float) -> None:
        """Let time pass, and check what storage has then."""
        self.loop.run_for(seconds)
        self.check()

    def call(self, number: int, work: Any) -> None:
        """Let a process make a call: `work` takes it, and returns a coroutine. A dead process is replaced first."""
        process = self.process(number)
        process.spawn(self._called(work(process)))

    def process(self, number: int) -> Process:
        """Return a process that is alive in this place."""
        place = number % len(self.processes)
        if self.processes[place].is_dead:
            skew_ms = self.processes[place].clock.skew_ms
            self.processes[place] = Process(self.around, len(self.processes), skew_ms)
        return self.processes[place]

    def sweep(self, number: int, shard: int) -> None:
        """Let a process sweep a shard now."""
        wakeup = Wakeup(SHARDS[shard % len(SHARDS)], 0)
        self.call(number, lambda process: process.engine.sweep(wakeup))

    def announce(self, number: int, work: Work) -> None:
        """Let the upstream announce the end of work."""
        body = orjson.dumps({"type": f"response.{work.status}", "data": {"id": work.token}})

        async def announced(process: Process) -> None:
            headers = signed_headers((HOOK_SECRET,), "wh_1", process.clock.now_ms() // 1000, body)
            with suppress(ServiceError):
                await process.engine.receive_webhook(headers, body)

        self.call(number, announced)

    def check(self) -> None:
        """Raise the first failure, if there is any."""
        self.failures += self.audit.violations
        self.audit.violations.clear()
        at_work = [self.audit.seen(work.key).record for work in self.peers[GATED].unfinished()]
        busy = [record for record in at_work if record and not record.status.is_terminal]
        holds(len(busy) <= LIMIT, "G2: as many are at work as may be", busy)
        strays = [work for peer in self.peers.values() for work in peer.works.values() if work.key not in self.lives]
        holds(not strays, "every start has the response's own idempotency key", strays)
        for failure in self.failures:
            raise failure

    @property
    def lives(self) -> dict[str, Life]:
        """The responses that callers have asked for, by id."""
        return self.callers.lives

    def close(self) -> None:
        """Cut everything off."""
        for process in self.processes:
            process.kill()
        with suppress(asyncio.CancelledError):
            self.loop.run_for(0)
        self.loop.run_until_complete(self._stop())
        self.loop.run_until_complete(self.loop.shutdown_asyncgens())
        self.loop.close()

    async def _stop(self) -> None:
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The platform's part

    def alive(self) -> list[Process]:
        """Return the processes that work."""
        return [one for one in self.processes if not (one.is_dead or one.is_frozen)]

    def _beat(self) -> None:
        """Fire the timer in one process. While a heartbeat would find nothing, time is skipped."""
        idle_s = self._idle_s()
        self.loop.call_later(max(BEAT_S, idle_s), self._beat)
        if (alive := self.alive()) and idle_s < BEAT_S:
            process = self.random.choice(alive)
            process.spawn(self._called(process.engine.heartbeat()))

    def _idle_s(self) -> float:
        """Return for how long no alarm is due, and nothing waits at a gate."""
        partitions = self.tables.tables[TABLE].values()
        if any(one.between("wait|", "wait|~") for one in partitions):
            return 0.0
        first = [keys[0] for one in partitions if (keys := one.between("alarm|", "alarm|~"))]
        due_ms = min((alarm_of(key).due_ms for key in first), default=0)
        idle_s = (due_ms - self.processes[0].clock.now_ms()) / 1000 - 2 * BEAT_S
        return min(max(idle_s, 0.0), 3_600.0) if first and not self.chaos else 0.0

    def _when_visible(self, name: str, at_s: float) -> None:
        self.loop.call_at(at_s, self._hand_out, name)

    def _hand_out(self, name: str) -> None:
        """Give visible messages to processes. A message may be lost on the way, or handled twice, or late."""
        if not (alive := self.alive()):
            self.loop.call_later(5.0, self._hand_out, name)
            return
        for message in self.queues.receive(name, 1, HIDDEN_S):
            fate = self.random.random() if self.chaos else 1.0
            if fate < 0.1:
                self.queues.hide(name, self._original(name, message), 30 * self.random.random())
                continue
            if fate > 0.15:
                self._hand(self.random.choice(alive), name, message)
            if fate < 0.3:
                self._hand(self.random.choice(alive), name, message)

    def _hand(self, process: Process, name: str, message: Message) -> None:
        process.spawn(self._called(self._handled(process, name, message)))

    async def _handled(self, process: Process, name: str, message: Message) -> None:
        if name == WAKEUPS:
            await process.engine.sweep(Wakeup.decode(message.content.encode()))
        elif name == RUNS:
            offer = RunOffer.decode(message.content.encode())
            with suppress(StoreError):
                await process.engine.drive(offer)
        with suppress(KeyError, ValueError):
            self.queues.delete(name, message.id, message.pop_receipt)

    def _original(self, name: str, message: Message) -> Message:
        return next(one for one in self.queues.queues[name] if one.id == message.id)

    async def _called(self, work: Coroutine[Any, Any, Any]) -> None:
        try:
            await work
        except StoreError:
            return
        except Exception as error:  # noqa: BLE001 - whatever a call raises that the product should not
            self.failures.append(error)

    # What happens

    def note_line(self, line: str) -> None:
        """Take a log line of the product. Some tell of what it did not expect."""
        if any(name in line for name in _FAILURES):
            self.failures.append(AssertionError(line))

    def _note_exception(self, _loop: Any, context: dict[str, Any]) -> None:
        error = context.get("exception") or AssertionError(str(context["message"]))
        if not isinstance(error, StoreError):
            self.failures.append(error)

    def _note_death(self, _process: Process) -> None:
        self.faults += 1

    def _take_event(self, response_id: str, headers: Any, event: dict[str, Any], accepted: bool) -> None:
        self.callers.take_event(response_id, headers, event, accepted)
