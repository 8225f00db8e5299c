"""The one place that builds the engine from the settings: clients are made here and nowhere else."""

import asyncio
import random
import socket
import time
from collections.abc import Mapping
from typing import Any, cast

import httpx
from azure.core.pipeline.transport import AioHttpTransport
from azure.identity.aio import DefaultAzureCredential, get_bearer_token_provider
from azure.storage.queue import TextBase64EncodePolicy
from azure.storage.queue.aio import QueueServiceClient

from shared.core.errors import SettingsError
from shared.core.records import CALLBACK, REPLY_QUEUE
from shared.engine import Engine
from shared.runtime.config import Limits, Pace, Rules
from shared.runtime.ports import World
from shared.senders.callbacks import CallbackSender
from shared.senders.reply_queues import ReplySender
from shared.settings import Settings, load, telemetry
from shared.storage.request_queue import Queues
from shared.storage.store import Store
from shared.storage.table_client import Table
from shared.storage.wakeups import DELIVERIES, NUDGES, RUNS, Nudges
from shared.telemetry.logs import logger
from shared.upstreams.agents.registry import Agents
from shared.upstreams.agents.upstream import PREFIX, AgentUpstream
from shared.upstreams.protocol import Authorize, Upstreams
from shared.upstreams.responses_api import ResponsesUpstream

_log = logger(__name__)

TABLE = "responses"
_QUEUE_READ_S = 3.0  # well below the deadline of a send, so that a connection that has died leaves time for another
_CONNECTIONS = 1_000  # above what the sweeps of one process can poll at once
_PROBES = [
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 4))
        if hasattr(socket, name)  # not everywhere
    ),
]


class Service:
    """The engine and the settings it was built from."""

    def __init__(self, settings: Settings, engine: Engine) -> None:
        self.callers = settings.callers
        self.engine = engine


_building: asyncio.Task[Service] | None = None


async def service() -> Service:
    """Return the service of this process, built at the first call; a failed build is tried again at the next."""
    global _building  # noqa: PLW0603 - one per process, as the platform asks: clients live as long as the worker
    if _building is None or (_building.done() and (_building.cancelled() or _building.exception())):
        _building = asyncio.ensure_future(build(load()))
    return await asyncio.shield(_building)


def observe() -> None:
    """Send traces and metrics from now on where the setting says so; one that is wrong is told by every request.

    Where OpenTelemetry refuses a setting of its own, the service does its work without telemetry.
    """
    try:
        if target := telemetry():
            from shared.telemetry import exporters  # noqa: PLC0415 - takes time that only those pay who want it

            exporters.start(target)
    except SettingsError:
        return
    except Exception:  # noqa: BLE001 - the edge: what only watches the product does not end it
        _log.exception("telemetry.failed")


async def build(settings: Settings) -> Service:
    """Build the service and create the table and queues that are not there."""
    world = _world(settings)
    await asyncio.gather(world.store.prepare(), world.nudges.prepare(), world.queues.prepare())
    return Service(settings, Engine(world))


def now_ms() -> int:
    """Return the time, unix milliseconds."""
    return time.time_ns() // 1_000_000


def _world(settings: Settings) -> World:
    table, queues = _storage(settings)
    return World(
        store=Store(table),
        nudges=Nudges(_queue(queues, NUDGES), _queue(queues, DELIVERIES), _queue(queues, RUNS), now_ms),
        queues=Queues(queues),
        upstreams=Upstreams(_upstream(settings), {PREFIX: AgentUpstream(Agents(settings.agents_module))}),
        senders={
            CALLBACK: CallbackSender(allow_loopback=settings.allow_loopback, refused_hosts=settings.own_hosts),
            REPLY_QUEUE: ReplySender(queues),
        },
        callers=settings.callers,
        now_ms=now_ms,
        dice=random.random,
        limits=Limits(
            deadline_ms=settings.deadline_s * 1000,
            retention_ms=settings.retention_s * 1000,
            honours_keys=settings.upstream_honours_keys,
            is_told=bool(settings.upstream_webhook_secrets),
        ),
        rules=Rules(
            reply_queues=settings.reply_queues,
            own_hosts=settings.own_hosts,
            requests_caller=settings.requests_caller,
            upstream_secrets=settings.upstream_webhook_secrets,
            allow_loopback=settings.allow_loopback,
        ),
        pace=Pace(heartbeat_s=settings.stream_heartbeat_s, stream_s=settings.stream_max_s),
    )


def _storage(settings: Settings) -> tuple[Table, QueueServiceClient]:
    if settings.storage_connection:
        table = Table.from_connection_string(settings.storage_connection, TABLE, **_table_options())
        return (
            cast("Table", table),  # the library says it returns its own class
            QueueServiceClient.from_connection_string(settings.storage_connection, **_queue_options()),
        )
    credential = _credential(settings)
    host = f"https://{settings.storage_account}"
    return (
        Table(f"{host}.table.core.windows.net", TABLE, credential=credential, **_table_options()),
        QueueServiceClient(f"{host}.queue.core.windows.net", credential=credential, **_queue_options()),
    )


def _table_options() -> dict[str, Any]:
    return {**_options(read_s=10.0), "retry_backoff_factor": 0.2}


def _queue_options() -> dict[str, Any]:
    """Return what makes the queues' library repeat a call within two seconds; by itself it first waits for 15."""
    return {**_options(_QUEUE_READ_S), "initial_backoff": 0, "increment_base": 1, "random_jitter_range": 1}


def _options(read_s: float) -> dict[str, Any]:
    """Return what every storage client is made with.

    Without the environment's settings: looking for proxies and netrc takes aiohttp two threads a request.
    """
    transport = AioHttpTransport(use_env_settings=False, connection_timeout=5, read_timeout=read_s)
    return {"transport": transport, "retry_total": 3}


def _queue(queues: QueueServiceClient, name: str) -> Any:
    return queues.get_queue_client(name, message_encode_policy=TextBase64EncodePolicy())


def _credential(settings: Settings) -> DefaultAzureCredential:
    return DefaultAzureCredential(managed_identity_client_id=settings.identity_client_id)


def _upstream(settings: Settings) -> ResponsesUpstream:
    limits = httpx.Limits(max_connections=_CONNECTIONS, max_keepalive_connections=100)
    # a foreground upstream may think in silence for hours: only probes tell such a peer from a dead one
    probing = None if settings.upstream_replays else httpx.AsyncHTTPTransport(limits=limits, socket_options=_PROBES)
    client = httpx.AsyncClient(
        timeout=httpx.Timeout(30.0, connect=5.0),
        limits=limits,
        transport=probing,
        follow_redirects=False,
        headers={"User-Agent": "background-responses/1", "Accept": "application/json"},
    )
    return ResponsesUpstream(
        client, settings.upstream_base_url, _authorization(settings), replays=settings.upstream_replays
    )


def _authorization(settings: Settings) -> Authorize:
    """Return what gives the headers of a call: the key, or an Entra ID token, cached and refreshed by the library."""
    if settings.upstream_api_key:
        with_key = {"Authorization": f"Bearer {settings.upstream_api_key}"}

        async def key() -> Mapping[str, str]:
            return with_key

        return key
    provider = get_bearer_token_provider(_credential(settings), settings.upstream_scope)

    async def token() -> Mapping[str, str]:
        return {"Authorization": f"Bearer {await provider()}"}

    return token
