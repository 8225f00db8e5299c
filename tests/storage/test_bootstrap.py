"""The composition root: what the settings make of the ports to storage, the upstreams and the receivers."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import orjson
import pytest
from aiohttp import web
from azure.storage.queue.aio import QueueServiceClient

from local.stack.ports import free_port
from shared.bootstrap import TABLE, build, build_ports
from shared.core.changesets import ChangeSet
from shared.core.errors import StoreIncomplete, StoreUnavailable, UpstreamRedirected
from shared.core.ids import new_id
from shared.core.records import Record, Target
from shared.engine import Engine
from shared.runtime.config import Config, Limits, Pace, Rules
from shared.runtime.ports import Ports
from shared.senders.url_policy import CallbackUrlRefused
from shared.settings import load_settings
from shared.storage.messages import DELIVERIES, POISON, REQUESTS, RUNS, WAKEUPS
from tests.support.proxies.fault_proxy import StorageRequest, is_transaction
from tests.support.proxies.lossy_proxy import LossyProxy
from tests.support.stage import SECRET, Stage

KEY = "sk-geheim"
REQUIRED = {"UPSTREAM_BASE_URL": "https://api.example.com/v1", "CALLERS": '[{"name": "ann"}, {"name": "bob"}]'}
OURS = {WAKEUPS, DELIVERIES, RUNS, REQUESTS, REQUESTS + POISON}
ORDER = [WAKEUPS, DELIVERIES, RUNS, REQUESTS, REQUESTS + POISON].index
NOWHERE = "UseDevelopmentStorage=true"


def port_of(connection_string: str, service: str) -> int:
    """Return the port of one service of an account."""
    parts = dict(part.partition("=")[::2] for part in connection_string.split(";"))
    return urlsplit(parts[f"{service}Endpoint"]).port or 80


@asynccontextmanager
async def ports_of(connection_string: str = NOWHERE, **environment: str) -> AsyncIterator[Ports]:
    """Build the ports from settings, and close them after the block."""
    settings = load_settings({"AzureWebJobsStorage": connection_string, **REQUIRED, **environment})
    ports = build_ports(settings)
    try:
        yield ports
    finally:
        await Engine(ports).aclose()


# The configuration


async def test_without_settings_the_defaults_apply() -> None:
    """A deployment that sets only what is required gets the defaults of the flows. Queued requests are the first's."""
    async with ports_of() as ports:
        assert ports.config == Config(rules=Rules(requests_caller="ann"))
        assert [ports.callers.named(name) is not None for name in ("ann", "bob", "eve")] == [True, True, False]


async def test_every_setting_reaches_the_flows() -> None:
    """Each setting becomes the limit, rule or interval of its name, in the unit of that."""
    async with ports_of(
        RESPONSE_DEADLINE_S="60",
        RETENTION_S="120",
        UPSTREAM_HONOURS_IDEMPOTENCY_KEY="true",
        UPSTREAM_WEBHOOK_SECRET=SECRET,
        REPLY_QUEUES="replies-*, orders",
        WEBSITE_HOSTNAME="app.example.com",
        REQUESTS_CALLER="bob",
        CALLBACK_ALLOW_LOOPBACK="true",
        STREAM_HEARTBEAT_S="2.5",
        STREAM_MAX_S="30",
        FOREGROUND_HOLD_S="20",
        WATCH="false",
    ) as ports:
        assert ports.config == Config(
            Limits(deadline_ms=60_000, retention_ms=120_000, watch=False),
            Rules(
                reply_queues=("replies-*", "orders"),
                own_hosts=frozenset({"app.example.com"}),
                requests_caller="bob",
                allow_loopback=True,
            ),
            Pace(heartbeat_s=2.5, stream_s=30.0, bounded_begin_s=20.0),
        )
        (route,) = ports.upstreams.routes
        assert (route.spec.honours_keys, route.spec.webhook_secrets) == (True, (SECRET,))


# The upstream


@dataclass
class Model:
    """A server of the Responses API that gives one answer and records the requests."""

    url: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)

    async def handle(self, request: web.BaseRequest) -> web.Response:
        """Record the request and answer it."""
        self.requests.append((request.method, request.path, {name.lower(): v for name, v in request.headers.items()}))
        answer = {"id": "up_0", "status": "in_progress"}
        return web.json_response(answer, status=self.status, headers=self.headers)


@pytest.fixture
async def model() -> AsyncIterator[Model]:
    """Give a model that listens on loopback."""
    model, port = Model(), free_port()
    runner = web.ServerRunner(web.Server(model.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    model.url = f"http://127.0.0.1:{port}/v1"
    yield model
    await runner.cleanup()


@pytest.mark.parametrize("mode", ["background", "foreground"])
async def test_the_upstream_is_called_with_its_key(model: Model, mode: str) -> None:
    """Calls to the upstream of either kind go to its base URL, with its key and the name of this service."""
    async with ports_of(UPSTREAM_BASE_URL=model.url, UPSTREAM_API_KEY=KEY, UPSTREAM_MODE=mode) as ports:
        upstream = ports.upstreams.route("m").upstream
        assert upstream.is_background is (mode == "background")
        assert (await upstream.poll("up_0")).token == "up_0"
    ((method, path, headers),) = model.requests
    assert (method, path) == ("GET", "/v1/responses/up_0")
    assert headers["authorization"] == f"Bearer {KEY}"
    assert (headers["user-agent"], headers["accept"]) == ("background-responses/1", "application/json")


async def test_a_redirect_of_the_upstream_is_not_followed(model: Model) -> None:
    """A redirect is an error, because the key would be sent to wherever it leads."""
    model.status, model.headers = 307, {"Location": f"{model.url}/elsewhere"}
    async with ports_of(UPSTREAM_BASE_URL=model.url, UPSTREAM_API_KEY=KEY) as ports:
        with pytest.raises(UpstreamRedirected):
            await ports.upstreams.route("m").upstream.poll("up_0")
    assert len(model.requests) == 1


async def test_agents_have_an_upstream_of_their_own() -> None:
    """Models with the prefix of agents are served by agents, in the foreground. All others have the default one."""
    async with ports_of() as ports:
        (default,) = ports.upstreams.routes
        agents = ports.upstreams.route("agent:clerk")
        assert (agents.is_agent, default.is_agent) == (True, False)
        assert agents.upstream.is_background is False
        assert [ports.upstreams.serving(name) for name in ("gpt-5", "agent", "", None)] == [default] * 4


# The receivers


async def test_the_sender_of_callbacks_has_the_rules_of_the_deployment() -> None:
    """Callbacks to our own host are refused, and those to loopback too unless the deployment allows them."""
    for allowed in ("false", "true"):
        async with ports_of(WEBSITE_HOSTNAME="app.example.com", CALLBACK_ALLOW_LOOPBACK=allowed) as ports:
            sender = ports.senders[Target.CALLBACK]
            with pytest.raises(CallbackUrlRefused) as refused:
                await sender.vet("https://app.example.com/hook")
            assert refused.value.code == "callback_url_host_denied"
            if allowed == "true":
                await sender.vet("http://127.0.0.1:8080/hook")
            else:
                with pytest.raises(CallbackUrlRefused):
                    await sender.vet("http://127.0.0.1:8080/hook")


async def test_reply_queues_are_those_of_the_storage_account(connection_string: str) -> None:
    """An event for a reply queue arrives on the queue of that name in the deployment's account."""
    async with QueueServiceClient.from_connection_string(connection_string) as queues:
        await queues.create_queue("replies-1")
    async with ports_of(connection_string) as ports:
        answer = await ports.senders[Target.REPLY_QUEUE].post("replies-1", {}, b'{"type":"response.completed"}')
    assert answer.status == 201
    async with Stage(connection_string) as stage, stage.queue("replies-1") as queue:
        message = await queue.receive_message()
    assert message is not None
    assert orjson.loads(message.content) == {"type": "response.completed"}


# Storage


async def queue_names(connection_string: str) -> set[str]:
    """Return the names of the account's queues."""
    async with QueueServiceClient.from_connection_string(connection_string) as queues:
        return {str(queue.name) async for queue in queues.list_queues()}


async def test_a_heartbeat_creates_the_table_and_the_queues(connection_string: str) -> None:
    """The first heartbeat of a process creates all but the poison queues of hints.

    The platform creates those when it needs them. Another process and other heartbeats leave everything alone.
    """
    settings = load_settings({"AzureWebJobsStorage": connection_string, "UPSTREAM_API_KEY": KEY, **REQUIRED})
    async with AsyncExitStack() as built:
        for _ in range(2):
            service = build(settings)
            built.push_async_callback(service.engine.aclose)
            assert service.callers is settings.callers
            await service.engine.heartbeat()
            await service.engine.check()
    assert await queue_names(connection_string) == OURS
    async with Stage(connection_string) as stage:
        assert (await stage.table()).table_name == TABLE


async def test_a_service_is_built_without_storage() -> None:
    """Building calls nothing, so storage that does not answer delays no start."""
    settings = load_settings({"AzureWebJobsStorage": NOWHERE, "UPSTREAM_API_KEY": KEY, **REQUIRED})
    await build(settings).engine.aclose()


async def test_a_service_works_without_its_queues(connection_string: str) -> None:
    """Queues that do not answer stop no heartbeat. Readiness finds out."""
    dead = connection_string.replace(f":{port_of(connection_string, 'Queue')}/", f":{free_port()}/")
    settings = load_settings({"AzureWebJobsStorage": dead, "UPSTREAM_API_KEY": KEY, **REQUIRED})
    service = build(settings)
    with pytest.raises(StoreUnavailable):
        await service.engine.check()
    await service.engine.heartbeat()
    await service.engine.aclose()


async def test_readiness_names_what_is_missing(connection_string: str) -> None:
    """Without the table or a queue, readiness says which is missing. The first heartbeat creates them all."""
    async with ports_of(connection_string, UPSTREAM_API_KEY=KEY) as ports:
        engine = Engine(ports)
        with pytest.raises(StoreIncomplete) as incomplete:
            await engine.check()
        assert incomplete.value.missing == [f"table {TABLE}", *(f"queue {name}" for name in sorted(OURS, key=ORDER))]
        await engine.heartbeat()
        await engine.check()


@pytest.mark.parametrize("name", ["nudges", "deliveries", "runs", "requests", "requests-poison"])
async def test_a_queue_that_is_deleted_is_named_by_readiness(connection_string: str, name: str) -> None:
    """While the process runs, readiness names each queue of ours that is deleted. A new process creates it again."""
    async with ports_of(connection_string, UPSTREAM_API_KEY=KEY) as ports:
        await ports.store.prepare()
        await Engine(ports).heartbeat()
        async with QueueServiceClient.from_connection_string(connection_string) as queues:
            await queues.delete_queue(name)
        with pytest.raises(StoreIncomplete) as incomplete:
            await Engine(ports).check()
        assert incomplete.value.missing == [f"queue {name}"]
        await Engine(ports).heartbeat()
        await Engine(ports).check()


async def test_an_account_can_be_named_instead_of_a_connection_string() -> None:
    """With the name of an account, clients with the app's identity are made, and nothing is called for that."""
    settings = load_settings({"AzureWebJobsStorage__accountName": "contoso", **REQUIRED})
    await Engine(build_ports(settings)).aclose()


def is_message(request: StorageRequest) -> bool:
    """Return whether a request puts a message on a queue."""
    return request.method == "POST"


@asynccontextmanager
async def lossy(connection_string: str, service: str) -> AsyncIterator[LossyProxy]:
    """Give a proxy that loses requests on their way to one service of the account."""
    async with LossyProxy(service.lower(), port_of(connection_string, service)) as proxy:
        yield proxy


async def test_a_message_whose_connection_breaks_is_sent_again(connection_string: str) -> None:
    """With the service's own settings, a message whose connection breaks is sent again within the same call."""
    response_id = new_id()
    async with lossy(connection_string, "Queue") as proxy, ports_of(proxy.through(connection_string)) as ports:
        await ports.wakeups.prepare()
        lost = proxy.lose(is_message)
        await ports.wakeups.offer(response_id, 1)
    assert lost.happened.is_set()
    async with Stage(connection_string) as stage, stage.queue(RUNS) as queue:
        message = await queue.receive_message()
    assert message is not None
    assert orjson.loads(message.content) == {"response": response_id, "epoch": 1}


async def test_a_transaction_whose_connection_breaks_is_sent_again(connection_string: str) -> None:
    """With the service's own settings, a transaction whose connection breaks three times still succeeds."""
    record = Record(new_id(), "ann", created_ms=1, deadline_ms=2)
    async with lossy(connection_string, "Table") as proxy, ports_of(proxy.through(connection_string)) as ports:
        await ports.store.prepare()
        lost = [proxy.lose(is_transaction, nth) for nth in (1, 1, 1)]
        written = await ports.store.commit(ChangeSet(record))
        assert await ports.store.read(record.id) == written
        assert proxy.counts["POST $batch"] > 1
    assert all(one.happened.is_set() for one in lost)
