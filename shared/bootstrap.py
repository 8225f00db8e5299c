"""The composition root: builds the engine from the settings. All clients are made here.

The libraries of the clients are imported when the first request builds the service. The platform gives a process 10 s
to import the app, and these libraries alone take half as long again.
"""

import asyncio
import gc
import random
import socket
import ssl
from collections.abc import Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, cast

from shared.core.errors import SettingsError
from shared.core.records import Target
from shared.engine import Engine
from shared.gates.gates import Gates
from shared.gates.tools import Tools
from shared.runtime.background import BackgroundTasks
from shared.runtime.clock import Clock, SystemClock
from shared.runtime.config import Config, Limits, Pace, Rules
from shared.runtime.ports import Ports
from shared.runtime.single_flight import SingleFlight
from shared.senders.callbacks import CallbackSender
from shared.senders.reply_queues import ReplySender
from shared.settings import Settings, expand_connection, load_settings, telemetry_target
from shared.storage.gates.gate_table import GateTable
from shared.storage.messages import HINTS
from shared.storage.request_queue import RequestQueue
from shared.storage.store import Store
from shared.storage.table_client import Table
from shared.storage.wakeups import Wakeups
from shared.telemetry import library_logs
from shared.telemetry.logs import logger
from shared.upstreams.agents.registry import Agents
from shared.upstreams.agents.upstream import PREFIX, AgentUpstream
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.protocol import Authorize
from shared.upstreams.relay import HttpRelay
from shared.upstreams.responses_api import BackgroundResponses, ForegroundResponses
from shared.upstreams.routes import Route, Upstreams
from shared.upstreams.specs import UpstreamSpec

if TYPE_CHECKING:
    from azure.identity.aio import DefaultAzureCredential
    from azure.storage.queue.aio import QueueServiceClient

_log = logger(__name__)

TABLE = "responses"
READINESS_S = 5.0
_QUEUE_READ_S = 3.0  # well below the deadline of a send, so that a dead connection leaves time for another try
_CONNECTIONS = 1_000  # more than the sweeps of one process can poll at once
_PROBES = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4))
        if hasattr(socket, name)  # not every system has all of them
    ),
]


class Service:
    """The engine, the callers that the settings name, and whether the console is served."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.callers = settings.callers
        self.console = settings.console
        self.engine = engine
        self.readiness: SingleFlight[None] = SingleFlight(kept_s=READINESS_S)  # what the last check has found


_service: Service | None = None


async def service() -> Service:
    """Return the service of this process. The first call builds it. If that fails, the next call tries again.

    Raises SettingsError if a setting is missing or wrong.
    """
    global _service  # noqa: PLW0603 - one per process: clients live as long as the worker
    if _service is None:
        library_logs.watch_loop(asyncio.get_running_loop())
        _service = build(load_settings())
        # What is loaded stays. A full collection would look through all of it again and again, and hold the event loop
        # for tens of milliseconds. https://docs.python.org/3/library/gc.html#gc.freeze
        gc.freeze()
    return _service


@cache
def works_between_invocations() -> bool:
    """Return whether this process may work between its invocations. It may if its settings cannot be read."""
    try:
        return _config(load_settings()).limits.watch
    except SettingsError:
        return True


def start_telemetry() -> None:
    """Start to send telemetry if the setting `TELEMETRY` says so. Every request reports a wrong setting.

    If OpenTelemetry rejects one of its settings, the service works without telemetry.
    """
    try:
        if target := telemetry_target():
            from shared.telemetry import exporters

            exporters.start(target)
    except SettingsError:
        return
    except Exception:  # noqa: BLE001 - the edge: telemetry must not stop the service
        _log.exception("telemetry.failed")


def build(settings: Settings) -> Service:
    """Build the service. This calls nothing.

    The first heartbeat creates the table and the queues. A write or a message that finds none does so, too.
    """
    return Service(settings, Engine(build_ports(settings)))


def build_ports(settings: Settings) -> Ports:
    """Return the ports to Azure Storage, the upstreams, the receivers and the system's clock."""
    clock, background = SystemClock(), BackgroundTasks()
    table, queues = _storage(settings)
    context = _tls()
    callbacks = CallbackSender(
        now_ms=clock.now_ms,
        allow_loopback=settings.allow_loopback,
        refused_hosts=settings.own_hosts,
        ssl_context=context,
    )
    return Ports(
        store=Store(table),
        gates=Gates(GateTable(table), _gate_tools(clock, background, goes_on=settings.watch)),
        background=background,
        wakeups=Wakeups({name: _queue(queues, name) for name in HINTS}, clock.now_ms),
        requests=RequestQueue(queues),
        upstreams=Upstreams(
            [_route(settings, spec, context) for spec in settings.upstreams],
            {PREFIX: AgentUpstream(Agents(settings.agents_module))},
        ),
        senders={Target.CALLBACK: callbacks, Target.REPLY_QUEUE: ReplySender(queues)},
        callers=settings.callers,
        clock=clock,
        random=random.random,
        config=_config(settings),
    )


def _gate_tools(clock: Clock, background: BackgroundTasks, *, goes_on: bool) -> Tools:
    return Tools(clock.now_ms, clock.elapsed_s, clock.sleep, random.random, background.start, goes_on)


def _tls() -> ssl.SSLContext:
    """Return the context of every connection that is not to storage. To make one takes 17 ms."""
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    return context


def _config(settings: Settings) -> Config:
    return Config(
        limits=Limits(
            deadline_ms=settings.deadline_s * 1000,
            retention_ms=settings.retention_s * 1000,
            watch=settings.watch,
        ),
        rules=Rules(
            reply_queues=settings.reply_queues,
            own_hosts=settings.own_hosts,
            requests_caller=settings.requests_caller,
            allow_loopback=settings.allow_loopback,
            prices=settings.prices,
        ),
        pace=Pace(
            heartbeat_s=settings.stream_heartbeat_s,
            stream_s=settings.stream_max_s,
            bounded_begin_s=settings.foreground_hold_s,
        ),
    )


# Storage


def _storage(settings: Settings) -> "tuple[Table, QueueServiceClient]":
    from shared.storage.queue_client import Queues

    if settings.storage_connection:
        connection = expand_connection(settings.storage_connection)
        table = Table.from_connection_string(connection, TABLE, **_table_options())
        return (
            cast("Table", table),  # the library annotates its own class
            Queues.from_connection_string(connection, **_queue_options()),
        )
    credential = _credential(settings)
    return (
        Table(settings.storage_table_uri or "", TABLE, credential=credential, **_table_options()),
        Queues(settings.storage_queue_uri or "", credential=credential, **_queue_options()),
    )


def _table_options() -> dict[str, Any]:
    return {**_options(read_s=10.0), "retry_backoff_factor": 0.2}


def _queue_options() -> dict[str, Any]:
    """Return options that make the queue library retry within 2 s. By default, its first retry comes after 15 s."""
    return {**_options(_QUEUE_READ_S), "initial_backoff": 0, "increment_base": 1, "random_jitter_range": 1}


def _options(read_s: float) -> dict[str, Any]:
    """Return the options of every storage client.

    Environment settings are off, because aiohttp uses two threads per request to look for proxies and netrc.
    """
    from azure.core.pipeline.transport import AioHttpTransport

    transport = AioHttpTransport(use_env_settings=False, connection_timeout=5, read_timeout=read_s)
    return {"transport": transport, "retry_total": 3}


def _queue(queues: "QueueServiceClient", name: str) -> Any:
    from azure.storage.queue import TextBase64EncodePolicy

    return queues.get_queue_client(name, message_encode_policy=TextBase64EncodePolicy())


def _credential(settings: Settings) -> "DefaultAzureCredential":
    from azure.identity.aio import DefaultAzureCredential

    return DefaultAzureCredential(managed_identity_client_id=settings.identity_client_id)


# The upstreams


def _route(settings: Settings, spec: UpstreamSpec, context: ssl.SSLContext) -> Route:
    """Return an upstream, and what passes other calls on to it. The upstream closes their connections."""
    from shared.upstreams.transport import AiohttpTransport

    # A foreground upstream may think in silence for hours. Only TCP probes tell such a peer from a dead one.
    probes = [] if spec.is_background else _PROBES
    transport = AiohttpTransport(context, max_connections=_CONNECTIONS, socket_options=probes)
    endpoint = Endpoint(transport, spec.base_url, _authorization(settings, spec), spec)
    kind = BackgroundResponses if spec.is_background else ForegroundResponses
    return Route(kind(endpoint), spec, HttpRelay(endpoint))


def _authorization(settings: Settings, spec: UpstreamSpec) -> Authorize:
    """Return a function that authorizes calls with the key, or with an Entra ID token that the library renews."""
    if spec.api_key:
        with_key = {"Authorization": f"Bearer {spec.api_key}"}

        async def key() -> Mapping[str, str]:
            return with_key

        return key
    if not spec.scope:

        async def nothing() -> Mapping[str, str]:
            return {}

        return nothing
    from azure.identity.aio import get_bearer_token_provider

    provider = get_bearer_token_provider(_credential(settings), spec.scope)

    async def token() -> Mapping[str, str]:
        return {"Authorization": f"Bearer {await provider()}"}

    return token
