"""The local host as a process whose queue storage is gone, with the real durations, on Azurite."""

import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import httpx
from anyio.from_thread import start_blocking_portal

from local.azurite import Azurite
from local.stack.process import ENDED_BY_ITSELF, wait_for
from tests.support.host_process import DEADLINE_S, HEAD, length, put, queue, running, write_app
from tests.support.proxies.fault_proxy import FaultProxy

GONE_APP = (
    HEAD
    + """
    @app.queue_trigger(arg_name="msg", queue_name="messages", connection=STORAGE)
    async def message(msg: str) -> None:
        print("message", msg, flush=True)
        try:
            await asyncio.sleep(float(msg))
        finally:
            print("finally", msg, flush=True)

    @app.route(route="alive")
    async def alive(req: func.HttpRequest) -> str:
        return "yes"
"""
)
SHUTTING_DOWN = "An unhandled exception has occurred. Host is shutting down."


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/api/alive").is_success
    except httpx.TransportError:
        return False


@contextmanager
def cuttable(azurite: Azurite, connection: str) -> Iterator[tuple[str, Callable[[], AbstractContextManager[None]]]]:
    """Yield a connection string of the account, and a function whose block is an outage of queue storage behind it."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultProxy("queue", azurite.ports["queue"])) as proxy,
    ):
        yield proxy.through(connection), lambda: portal.wrap_async_context_manager(proxy.refusing())


def test_a_host_ends_itself_when_storage_is_gone(azurite: Azurite, connection_string: str, tmp_path: Path) -> None:
    """It answers HTTP for 24 s without storage. Then it refuses calls, and the process is gone 11 to 38 s later.

    A function in the middle hears nothing, and its message stays hidden.
    """
    app = write_app(tmp_path, GONE_APP, {"newBatchThreshold": 4})
    with (
        cuttable(azurite, connection_string) as (account, outage),
        running(app, AzureWebJobsStorage=account) as host,
    ):
        put(connection_string, "messages", b"200")
        host.await_text("message 200")
        with outage():
            began = time.monotonic()
            assert wait_for(lambda: SHUTTING_DOWN in host.written or not _answers(host.client), DEADLINE_S)
            assert SHUTTING_DOWN in host.written
            assert time.monotonic() - began > 23
            assert wait_for(lambda: not _answers(host.client), 5)
            assert host.process.wait(DEADLINE_S) == ENDED_BY_ITSELF
            assert 33 < time.monotonic() - began < 62
        assert "finally 200" not in host.written
        assert length(connection_string, "messages") == 1
        with closing(queue(connection_string, "messages")) as client:
            assert client.peek_messages() == []


def test_a_host_survives_20_s_without_storage(azurite: Azurite, connection_string: str, tmp_path: Path) -> None:
    """Its first poll comes up to 13 s after the outage, and then it works as before."""
    with (
        cuttable(azurite, connection_string) as (account, outage),
        running(write_app(tmp_path, GONE_APP), AzureWebJobsStorage=account) as host,
    ):
        put(connection_string, "messages", b"0")
        host.await_text("finally 0")
        with outage():
            time.sleep(20)  # the length of the outage is the test's input
        put(connection_string, "messages", b"0.1")
        began = time.monotonic()
        host.await_text("finally 0.1")
        assert time.monotonic() - began < 14
        assert host.process.poll() is None


def test_a_host_that_starts_without_storage_ends_itself(
    azurite: Azurite, connection_string: str, tmp_path: Path
) -> None:
    """It serves HTTP for 24 s, as any host without storage does."""
    with cuttable(azurite, connection_string) as (account, outage), outage():
        began = time.monotonic()
        with running(write_app(tmp_path, GONE_APP), AzureWebJobsStorage=account) as host:
            assert _answers(host.client)
            assert host.process.wait(DEADLINE_S) == ENDED_BY_ITSELF
            assert time.monotonic() - began > 24
            assert SHUTTING_DOWN in host.written
