"""The whole host: HTTP, queues and timers on one event loop, from start to shutdown."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor

import uvicorn

from local.host.app import App, QueueTrigger
from local.host.durations import Durations
from local.host.errors import StorageGone
from local.host.http_styles import BufferedExchange, StreamingExchange
from local.host.invocation import Invoker
from local.host.parameters import is_streaming
from local.host.queue_outputs import Outbox
from local.host.queues import QueueListener
from local.host.settlement import QueuePair
from local.host.storage import QueueStorage
from local.host.timers import TimerListener
from local.host.web import WebApp

logger = logging.getLogger(__name__)

GRACE_S = 5
STORAGE_GONE = 70
"""The exit code of a host that ended itself. Whoever started it starts it again."""

KEEP_ALIVE_S = 130
"""The keep-alive timeout of the platform's front end, in seconds."""


class HttpServer(uvicorn.Server):
    """A uvicorn server that announces its address.

    It ignores signals, because they stop the whole host and not only HTTP.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture no signals."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, and print the line that announces the address."""
        await super().startup(sockets)
        for listener in sockets or []:
            print(f"host listening on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)

    def stop(self) -> None:
        """Accept no more requests. `serve` returns when the running ones are answered."""
        self.should_exit = True


Listener = QueueListener | TimerListener


async def serve(app: App, listener: socket.socket, pool: Executor, environment: Mapping[str, str]) -> bool:
    """Run the app until a signal. Return whether everything had ended by the end of the grace period."""
    stopping = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    durations = Durations()
    async with QueueStorage() as queues:
        outbox = Outbox(queues, is_base64=app.settings.queues.base64, durations=durations)
        invoker = Invoker(outbox, pool, app.directory)
        server = _http_server(app, invoker, environment.get("FUNCTIONS_LOCAL_KEY"))
        return await _run(server, listener, _listeners(app, queues, outbox, invoker, durations), stopping, durations)


async def _run(
    server: HttpServer,
    listener: socket.socket,
    listeners: Sequence[Listener],
    stopping: asyncio.Event,
    durations: Durations,
) -> bool:
    tasks = [
        asyncio.create_task(server.serve([listener])),
        *(asyncio.create_task(one.run()) for one in listeners),
    ]
    stopped = asyncio.create_task(stopping.wait())
    # A listener ends only when it is stopped. If one ends earlier, it has failed, and the host stops with its error.
    done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
    for part in (server, *listeners):
        part.stop()
    if any(isinstance(task.exception(), StorageGone) for task in done):
        await _end_hard(durations)
    _, late = await asyncio.wait(tasks, timeout=GRACE_S)
    if late:
        logger.warning("host.stopped_late parts=%s", len(late))
        await _cancel_all()
    for task in tasks:
        if task.done() and not task.cancelled():
            task.result()
    return not late


async def _end_hard(durations: Durations) -> None:
    """End the process because storage is gone. As on the platform, no function hears of it."""
    logger.critical("An unhandled exception has occurred. Host is shutting down.")
    await asyncio.sleep(durations.hard_end_s)
    logging.shutdown()
    os._exit(STORAGE_GONE)


async def _cancel_all() -> None:
    """Cancel everything that still runs and give it a second to react."""
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.wait(others, timeout=1)


def _http_server(app: App, invoker: Invoker, key: str | None) -> HttpServer:
    exchange = StreamingExchange() if is_streaming() else BufferedExchange()
    config = uvicorn.Config(
        WebApp(app.routes, exchange, invoker, key),
        lifespan="off",
        ws="none",
        proxy_headers=False,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    return HttpServer(config)


def _listeners(
    app: App, queues: QueueStorage, outbox: Outbox, invoker: Invoker, durations: Durations
) -> list[Listener]:
    def queue_listener(trigger: QueueTrigger) -> QueueListener:
        poison = trigger.queue.poison
        pair = QueuePair(queues.queue(trigger.queue), queues.queue(poison) if poison else None)
        wake = outbox.subscribe(trigger.queue)
        return QueueListener(trigger.function, pair, app.settings.queues, invoker, wake, durations)

    return [
        *(queue_listener(trigger) for trigger in app.queue_triggers),
        *(TimerListener(timer, invoker) for timer in app.timers),
    ]
