"""A queue listener of the local host while storage is in trouble: what it survives, and what ends it. On Azurite."""

import asyncio
import base64
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import azure.functions as func
import pytest
from azure.storage.queue.aio import QueueClient

from local.azurite import Azurite
from local.host.addresses import QueueAddress
from local.host.durations import Durations
from local.host.errors import StorageGone
from local.host.functions import bind
from local.host.invocation import Invoker
from local.host.queue_outputs import Outbox
from local.host.queues import QueueListener
from local.host.settings import QueueSettings
from local.host.settlement import QueuePair
from local.host.storage import QueueStorage
from tests.support.host_process import DEADLINE_S
from tests.support.proxies.fault_proxy import FaultProxy, StorageRequest

DURATIONS = Durations(1 / 60)
"""Storage is gone after 0.4 s, and a message is hidden for 10 s."""

TRIES = 6
REQUESTS = range(TRIES, 2 * TRIES + 2)
"""Of six tries without a connection. aiohttp repeats a request on a fresh one, and a poll may have been under way."""

RECEIVE, EXISTS = "GET work/messages", "GET work"
DELETE, UPDATE, TO_POISON = "DELETE work/messages/id", "PUT work/messages/id", "POST work-poison/messages"


def of(*kinds: str) -> Callable[[StorageRequest], bool]:
    """Return a predicate for requests of these kinds."""
    return lambda request: request.kind in kinds


@dataclass
class Listened:
    """A listener that runs, the proxy between it and storage, and what its function does and has received."""

    proxy: FaultProxy
    queue: QueueClient
    received: list[str] = field(default_factory=list)
    act: Callable[[], Awaitable[None]] | None = None
    running: "asyncio.Task[None]" = field(init=False)

    async def put(self, text: str) -> None:
        """Put a message on the queue, past the proxy."""
        await self.queue.send_message(base64.b64encode(text.encode()).decode())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds while the listener runs."""
        async with asyncio.timeout(DEADLINE_S):
            while not condition():
                assert not self.running.done(), self.running
                await asyncio.sleep(0.01)

    async def ends(self) -> None:
        """Assert that the listener says that storage is gone."""
        async with asyncio.timeout(DEADLINE_S):
            with pytest.raises(StorageGone):
                await asyncio.shield(self.running)


@asynccontextmanager
async def listening(
    azurite: Azurite, connection: str, durations: Durations = DURATIONS, *, most: int = 2
) -> AsyncIterator[Listened]:
    """Run a listener of the queue `work` through a proxy until the end of the block."""
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="msg", queue_name="work", connection="STORAGE")
    async def work(msg: str) -> None:
        scene.received.append(msg)
        if scene.act:
            await scene.act()

    async with (
        FaultProxy("queue", azurite.ports["queue"]) as proxy,
        QueueStorage() as storage,
        QueueClient.from_connection_string(connection, "work") as direct,
    ):
        await direct.create_queue()
        scene = Listened(proxy, direct)
        address = QueueAddress("work", proxy.through(connection))
        function = bind(app.get_functions()[0], {"STORAGE": address.connection})
        outbox = Outbox(storage, is_base64=True, durations=durations)
        with ThreadPoolExecutor(1) as pool:
            listener = QueueListener(
                function,
                QueuePair(storage.queue(address), storage.queue(QueueAddress("work-poison", address.connection))),
                QueueSettings(max_dequeue_count=most, max_polling_interval_s=0.1),
                Invoker(outbox, pool, Path()),
                asyncio.Event(),
                durations,
            )
            scene.running = asyncio.create_task(listener.run())
            yield scene
            proxy.heal()
            listener.stop()
            await asyncio.wait([scene.running])


async def fails() -> None:
    """Fail, as a function of the test."""
    raise RuntimeError("on purpose")


@pytest.mark.parametrize("kind", [RECEIVE, EXISTS])
def test_polls_without_a_connection_end_the_listener(azurite: Azurite, connection_string: str, kind: str) -> None:
    """After six polls whose connection was reset, storage is gone."""

    async def scenario() -> None:
        async with listening(azurite, connection_string) as scene:
            if kind == RECEIVE:
                await scene.until(lambda: scene.proxy.counts[RECEIVE] > 0)
            scene.proxy.refuse(of(RECEIVE, EXISTS), status=None)
            seen, began = scene.proxy.counts[kind], time.monotonic()
            await scene.ends()
            assert scene.proxy.counts[kind] - seen in REQUESTS
            assert time.monotonic() - began > DURATIONS.storage_gone_s

    asyncio.run(scenario())


def test_refused_connections_end_the_listener(azurite: Azurite, connection_string: str) -> None:
    """Nobody listens at storage's port. That counts as a reset does."""

    async def scenario() -> None:
        async with listening(azurite, connection_string) as scene:
            await scene.until(lambda: scene.proxy.counts[RECEIVE] > 0)
            async with scene.proxy.refusing():
                await scene.ends()

    asyncio.run(scenario())


def test_a_shorter_outage_is_survived(azurite: Azurite, connection_string: str) -> None:
    """Connections that come back before the sixth try leave the listener as it was."""
    slower = Durations(1 / 12)  # gone after 2 s

    async def scenario() -> None:
        async with listening(azurite, connection_string, slower) as scene:
            for number in range(3):
                fault = scene.proxy.refuse(of(RECEIVE), status=None)
                seen = scene.proxy.counts[RECEIVE]
                await scene.until(lambda seen=seen: scene.proxy.counts[RECEIVE] >= seen + TRIES - 2)  # type: ignore[misc]
                assert fault.happened.is_set()
                scene.proxy.heal()
                await scene.put(str(number))
                await scene.until(lambda number=number: str(number) in scene.received)  # type: ignore[misc]

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [500, 503, 403])
def test_a_refused_poll_is_survived(azurite: Azurite, connection_string: str, status: int) -> None:
    """Polls that get an answer, though a refusal, end nothing, however long that lasts."""

    async def scenario() -> None:
        async with listening(azurite, connection_string) as scene:
            scene.proxy.refuse(of(RECEIVE, EXISTS), status)
            await scene.until(lambda: scene.proxy.counts[RECEIVE] + scene.proxy.counts[EXISTS] > 3 * TRIES)
            scene.proxy.heal()
            await scene.put("after")
            await scene.until(lambda: scene.received == ["after"])

    asyncio.run(scenario())


def test_slow_answers_end_nothing(azurite: Azurite, connection_string: str) -> None:
    """A storage that answers far later than the time after which it would be gone is only slow."""

    async def scenario() -> None:
        async with listening(azurite, connection_string) as scene:
            scene.proxy.delay(of(RECEIVE, DELETE), 3 * DURATIONS.storage_gone_s)
            await scene.put("slow")
            await scene.until(lambda: scene.proxy.counts[DELETE] == 1)
            seen = scene.proxy.counts[RECEIVE]
            await scene.until(lambda: scene.proxy.counts[RECEIVE] > seen + 1)
            assert scene.proxy.counts[DELETE] == 1

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [503, None])
@pytest.mark.parametrize(("kind", "act"), [(DELETE, None), (TO_POISON, fails)])
def test_a_message_that_cannot_be_settled_ends_the_listener(
    azurite: Azurite,
    connection_string: str,
    kind: str,
    act: Callable[[], Awaitable[None]] | None,
    status: int | None,
) -> None:
    """After a delete, or a move to the poison queue, was refused six times, storage is gone though polls succeed."""

    async def scenario() -> None:
        async with listening(azurite, connection_string, most=1) as scene:
            scene.act = act
            scene.proxy.refuse(of(kind), status)
            await scene.put("stuck")
            await scene.ends()
            assert scene.proxy.counts[kind] in ([TRIES] if status else REQUESTS)
            assert scene.received == ["stuck"]

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [503, None])
def test_a_release_that_is_refused_ends_the_listener(
    azurite: Azurite, connection_string: str, status: int | None
) -> None:
    """After the release of a failed message was refused six times, storage is gone."""

    async def scenario() -> None:
        async with listening(azurite, connection_string) as scene:
            scene.act = fails
            scene.proxy.refuse(of(UPDATE), status)
            await scene.put("stuck")
            await scene.ends()
            assert scene.proxy.counts[UPDATE] in ([TRIES] if status else REQUESTS)

    asyncio.run(scenario())


@pytest.mark.parametrize("status", [503, None])
def test_a_renewal_that_is_refused_ends_the_listener(
    azurite: Azurite, connection_string: str, status: int | None
) -> None:
    """It does not wait for the function, and the function hears nothing."""
    heard: list[str] = []

    async def hang() -> None:
        try:
            await asyncio.sleep(DEADLINE_S)
        finally:
            heard.append("finally")

    async def scenario() -> None:
        async with listening(azurite, connection_string) as scene:
            scene.act = hang
            scene.proxy.refuse(of(UPDATE), status)
            await scene.put("long")
            await scene.ends()
            assert scene.proxy.counts[UPDATE] in ([TRIES] if status else REQUESTS)
            assert (scene.received, heard) == (["long"], [])

    asyncio.run(scenario())


def test_a_message_that_another_receiver_has_ends_nothing(azurite: Azurite, connection_string: str) -> None:
    """A delete that is refused because the message is gone is not tried again, and the listener goes on."""

    async def scenario() -> None:
        async with listening(azurite, connection_string) as scene:
            scene.act = scene.queue.clear_messages
            await scene.put("taken")
            await scene.until(lambda: scene.proxy.counts[DELETE] == 1)
            scene.act = None
            await scene.put("next")
            await scene.until(lambda: "next" in scene.received and scene.proxy.counts[DELETE] == 2)

    asyncio.run(scenario())
