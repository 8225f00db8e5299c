"""The stage of the engine's tests: real storage behind a proxy, scripted peers, and a clock that the test controls."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import orjson
from azure.storage.queue import TextBase64DecodePolicy, TextBase64EncodePolicy
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from shared.contract.callers import Caller, Callers, SigningSecret
from shared.contract.requests import parse_request
from shared.core.alarms import Alarm, Kind
from shared.core.ids import shard_of
from shared.core.records import Delivery, Record, Target
from shared.core.states import Status
from shared.engine import Engine
from shared.runtime.clock import SystemClock
from shared.runtime.config import Config, Rules
from shared.runtime.ports import Ports
from shared.runtime.watches import Watches
from shared.storage.codec import encode_alarm
from shared.storage.gates.gate_table import GateTable
from shared.storage.messages import HINTS, WAKEUPS, Wakeup
from shared.storage.request_queue import RequestQueue
from shared.storage.store import Store
from shared.storage.table_client import Table
from shared.storage.wakeups import Wakeups
from tests.support.cast import Cast
from tests.support.clocks import Clock
from tests.support.fakes.peers import ScriptedReceiver
from tests.support.foreground_calls import called
from tests.support.proxies.holding_proxy import HoldingProxy
from tests.support.sent_messages import Sent, sent_by
from tests.support.storage_transport import direct_transport
from tests.support.tasks import stopped
from tests.support.turns import GateTasks, gates_of, next_turn, waits_for_turn

FOREVER_MS = 10**13 - 1
CALLBACK_HOST = "hooks.contoso.com"
CALLBACK_URL = f"https://{CALLBACK_HOST}/done"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ANN = Caller("ann", (), (SigningSecret(SECRET),))
BOB = Caller("bob", (), (SigningSecret(SECRET),))
RETRY_PAUSE_S = 0.01
NO_ALARMS = ["alarm|0", "alarm|0000000000001|poll|no-id", f"alarm|0000000000002|poll|resp_{'a' * 32}"]
T = TypeVar("T")
Say = Callable[[str], None]  # prints a line after the run


class Stage(Cast):
    """An engine on its own storage account, with everything around it under the test's control.

    The clock stands still, there is no jitter, and the table is reached through a proxy. Wake-ups are sent one by one,
    unless `gather_s` says how many seconds they are gathered. No queue is served. A test sweeps when it wants to, or
    uses a `queue_host` (queue_pump.py). A response is watched only if a caller waits for it, or if the test has called
    `watch`.
    """

    def __init__(self, connection_string: str, *, sdk_retries: int = 0, gather_s: float = 0) -> None:
        self.clock = Clock()
        self.watched = 0
        super().__init__()
        self.receiver = ScriptedReceiver(now_ms=self.clock.now_ms)
        self.replies = ScriptedReceiver(now_ms=self.clock.now_ms)
        self.sent: list[Sent] = []
        self._connection = connection_string
        self._sdk_retries = sdk_retries
        self._gather_s = gather_s
        self.gate_tasks = GateTasks()
        self._open = AsyncExitStack()

    async def __aenter__(self) -> Self:
        endpoint = dict(part.partition("=")[::2] for part in self._connection.split(";"))["TableEndpoint"]
        self.proxy = await self._enter(HoldingProxy("table", urlsplit(endpoint).port or 80))
        self.ports = await self.new_ports(self.clock)
        self.engine = Engine(self.ports)
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.gate_tasks.stopped()
        await self._open.aclose()

    async def new_ports(self, clock: Clock | SystemClock) -> Ports:
        """Return the ports of another process, which may have another clock. Storage and peers are the same."""
        queues = {name: await self._enter(self.queue(name)) for name in HINTS}
        wakeups = Wakeups(queues, clock.now_ms, gather_s=self._gather_s)
        store, requests = Store(await self.table()), RequestQueue(await self._enter(self._queues()))
        for part in (store, wakeups, requests):
            await part.prepare()
        self.gate_table = GateTable(await self.table())
        ports = Ports(
            store=store,
            gates=gates_of(self.gate_table, clock, self.gate_tasks),
            wakeups=wakeups,
            requests=requests,
            upstreams=self.made_upstreams(),
            senders={Target.CALLBACK: self.receiver, Target.REPLY_QUEUE: self.replies},
            callers=Callers((ANN, BOB)),
            clock=clock,
            random=lambda: 0.0,
            config=Config(rules=Rules(reply_queues=("replies*",), requests_caller=ANN.name)),
            watches=Watches(self.watched),
        )
        self._open.push_async_callback(stopped, ports)
        return ports

    async def process(self) -> Engine:
        """Return the engine of another process, with the same clock, storage, peers and configuration."""
        return Engine(replace(await self.new_ports(self.clock), config=self.ports.config))

    async def table(self) -> Table:
        """Return a client of the table, through the proxy."""
        client = Table.from_connection_string(
            self.proxy.through(self._connection),
            "responses",
            retry_total=self._sdk_retries,
            retry_backoff_factor=RETRY_PAUSE_S,
            transport=direct_transport(),
        )
        assert isinstance(client, Table)
        return await self._enter(client)

    def limit(self, **changes: Any) -> None:
        """Change the limits."""
        self.change(config=replace(self.ports.config, limits=replace(self.ports.config.limits, **changes)))

    def pace(self, **changes: float) -> None:
        """Change the intervals of streaming."""
        self.change(config=replace(self.ports.config, pace=replace(self.ports.config.pace, **changes)))

    def watch(self, most: int = 500) -> None:
        """Let this process and those made from now on watch so many responses. At first there is no room for any."""
        self.watched = most
        self.change(watches=Watches(most))

    def rule(self, **changes: Any) -> None:
        """Change the rules, such as where events may be sent."""
        self.change(config=replace(self.ports.config, rules=replace(self.ports.config.rules, **changes)))

    def change(self, **ports: Any) -> None:
        """Replace ports from now on."""
        self.ports = replace(self.ports, **ports)
        self.engine = Engine(self.ports)

    # Callers

    async def create(self, caller: Caller = ANN, *, key: str | None = None, **fields: Any) -> Record:
        """Create a response, in the background unless the fields say otherwise."""
        body = {"model": "m", "input": "question", "background": True, **fields}
        new = parse_request(orjson.dumps(body))
        make = self.engine.create if new.background else partial(called, self.engine)
        return (await make(caller, new, key))[0]

    async def ended(self, caller: Caller = ANN, **fields: Any) -> Record:
        """Create a response that the upstream has finished in its first answer."""
        self.upstream.first = Status.COMPLETED
        record = await self.create(caller, **fields)
        self.upstream.first = Status.QUEUED
        return record

    async def unfinished(self, caller: Caller = ANN, **fields: Any) -> Record:
        """Create a response whose next poll finds it completed."""
        self.upstream.course = [Status.COMPLETED]
        return await self.create(caller, **fields)

    async def shown(self, response_id: str, caller: Caller = ANN) -> dict[str, Any]:
        """Return the response object as the caller reads it."""
        return dict(orjson.loads((await self.engine.retrieve(caller, response_id))[1]))

    # Storage

    async def record(self, response_id: str) -> Record:
        """Return the record, which must exist."""
        record = await self.ports.store.read(response_id)
        assert record, "no record"
        return record

    async def delivery(self, response_id: str, target: str = Target.CALLBACK) -> Delivery:
        """Return the delivery to a target, which must exist."""
        delivery = (await self.record(response_id)).delivery(target)
        assert delivery, "no delivery"
        return delivery

    async def alarms(self, response_id: str) -> list[Alarm]:
        """Return the alarms of a response, earliest first."""
        found = (await self.ports.store.agenda(shard_of(response_id), FOREVER_MS, 1_000)).due
        return [alarm for alarm in found if alarm.id == response_id]

    async def kinds(self, response_id: str) -> list[Kind]:
        """Return the kinds of a response's alarms, earliest first."""
        return [alarm.kind for alarm in await self.alarms(response_id)]

    async def put(self, response_id: str, key: str, **properties: Any) -> None:
        """Write a row into the response's shard directly, without any checks."""
        await (await self.table()).upsert_entity({"PartitionKey": shard_of(response_id), "RowKey": key, **properties})

    async def plant(self, alarms: Sequence[Alarm]) -> None:
        """Write alarms of one shard without their records."""
        rows = [
            {"PartitionKey": shard_of(one.id), "RowKey": one.key, "facts": encode_alarm(one), "write_id": ""}
            for one in alarms
        ]
        table = await self.table()
        for start in range(0, len(rows), 100):
            await table.submit_transaction([("create", row) for row in rows[start : start + 100]])

    # Time

    async def fire_alarms(self, response_id: str) -> None:
        """Move the clock to the first alarm, unless it is later, and sweep the shard. What waits gets the next turn."""
        first, *_ = await self.alarms(response_id)
        if first.kind is Kind.START and waits_for_turn(await self.record(response_id), first):
            await self.fire_gates()
            return
        self.clock.ms = max(self.clock.ms, first.due_ms)
        await self.sweep(response_id)

    async def fire_gates(self) -> None:
        """Move the clock to when a gate allows more, and let it grant."""
        await next_turn(self.ports, self.clock, self.gate_tasks)

    async def sweep(self, response_id: str) -> int:
        """Sweep the shard of a response now."""
        return await self.engine.sweep(Wakeup(shard_of(response_id), self.clock.ms // 1000))

    async def finish(self, response_id: str) -> Record:
        """Act on the alarms of a response until it has ended."""
        for _ in range(100):
            record = await self.record(response_id)
            if record.status.is_terminal:
                return record
            await self.fire_alarms(response_id)
        raise AssertionError("the response does not end")

    async def run_out(self, response_id: str) -> None:
        """Act on every alarm of a response except its purge. First, what this process has begun beside calls ends."""
        await self.deliver()
        while await self.kinds(response_id) != [Kind.PURGE]:
            await self.fire_alarms(response_id)
            await self.deliver()

    # Queues

    def wakeups(self, response_id: str) -> list[Sent]:
        """Return the wake-ups that were sent so far for the response's shard."""
        shard = shard_of(response_id)
        return [sent for sent in self.sent if sent.queue == WAKEUPS and shard in sent.content["shards"]]

    async def deliver(self) -> None:
        """Wait until the delivery attempts that this process has begun are over."""
        await asyncio.gather(*self.ports.background.tasks)

    async def crash(self) -> None:
        """Cut off everything that this process does beside its calls, as a crash does."""
        await stopped(self.ports)
        await self.gate_tasks.stopped()

    def queue(self, name: str) -> QueueClient:
        """Return a client of a queue that records what it sends."""
        return QueueClient.from_connection_string(
            self._connection,
            name,
            message_encode_policy=TextBase64EncodePolicy(),
            message_decode_policy=TextBase64DecodePolicy(),
            raw_request_hook=self._note,
            retry_total=self._sdk_retries,
            transport=direct_transport(),
        )

    def _queues(self) -> QueueServiceClient:
        return QueueServiceClient.from_connection_string(
            self._connection, retry_total=self._sdk_retries, raw_request_hook=self._note, transport=direct_transport()
        )

    async def _enter(self, client: AbstractAsyncContextManager[T]) -> T:
        return await self._open.enter_async_context(client)

    def _note(self, request: Any) -> None:
        if sent := sent_by(request.http_request):
            self.sent.append(sent)
