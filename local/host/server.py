"""The whole host: HTTP, queues and timers on one event loop, from start to the hard end."""

import asyncio
import logging
import os
import random
import signal
import socket
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import NoReturn

from local.host.app import App, QueueTrigger, load
from local.host.counting import SETTING, Counting
from local.host.durations import Durations
from local.host.errors import LoadError, StorageGone
from local.host.http_server import HttpServer
from local.host.http_styles import BufferedExchange, StreamingExchange
from local.host.invocation import Invoker
from local.host.parameters import is_streaming
from local.host.queue_outputs import Outbox
from local.host.queues import QueueListener
from local.host.settlement import QueuePair
from local.host.storage import QueueStorage
from local.host.timer_locks import TimerLocks
from local.host.timers import TimerListener
from local.host.web import Front, WebApp
from local.stack.process import ENDED_BY_ITSELF

logger = logging.getLogger(__name__)

_EARLIEST_END = 0.04  # of the time within which the platform ends the process, from 0.4 to 10 s
_RELEASE_S = 1.0

Listener = QueueListener | TimerListener


class Host:
    """One host. Its process never ends in an orderly way, because the platform's does not either.

    Functions of queues and timers, tasks and threads are cut: no CancelledError, and no `finally`.
    """

    def __init__(self, environment: Mapping[str, str], pool: Executor, durations: Durations) -> None:
        self._environment = environment
        self._pool = pool
        self._durations = durations
        self._locks = TimerLocks(environment, durations.timer_lock_s)
        self._front = Front()
        self._stopping = asyncio.Event()
        self._ending: asyncio.Task[NoReturn] | None = None

    async def serve(self, directory: Path, listener: socket.socket) -> NoReturn:
        """Listen, load the app in the directory, and run it until a signal. Raise LoadError if it cannot be run."""
        self._listen_to_signals()
        server = HttpServer(self._front, listener)
        running = asyncio.create_task(self._run(directory))
        stopped = asyncio.create_task(self._stopping.wait())
        await asyncio.wait([running, stopped], return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await self._fail(running, server)
        await server.drain(self._durations.in_flight_s)
        await asyncio.sleep(random.uniform(_EARLIEST_END, 1) * self._durations.hard_end_s)
        await self._end()

    def _listen_to_signals(self) -> None:
        """Stop on SIGTERM as the platform does. SIGINT is Ctrl-C of a person, who does not want to wait for that."""
        handlers = {signal.SIGTERM: self._stopping.set, signal.SIGINT: self._end_soon}
        loop = asyncio.get_running_loop()
        for number, handle in handlers.items():
            try:
                loop.add_signal_handler(number, handle)
            except NotImplementedError:  # Windows, where only Ctrl-C is a signal
                signal.signal(number, lambda *_, handle=handle: loop.call_soon_threadsafe(handle))

    def _end_soon(self) -> None:
        self._ending = asyncio.create_task(self._end())

    async def _end(self) -> NoReturn:
        """Let another host have the timers, and end the process with everything that runs in it."""
        await asyncio.wait([asyncio.create_task(self._locks.release())], timeout=_RELEASE_S)
        os._exit(0)

    async def _fail(self, running: asyncio.Task[None], server: HttpServer) -> NoReturn:
        """Raise the LoadError of an app that cannot be run. After any other error, end the process.

        Without storage the platform refuses new calls, and the process is gone 11 to 38 s later. No function hears it.
        """
        error = running.exception()
        if isinstance(error, LoadError):
            raise error
        logger.critical("An unhandled exception has occurred. Host is shutting down.", exc_info=error)
        if isinstance(error, StorageGone):
            await server.drain(self._durations.in_flight_s)
            await asyncio.sleep(self._durations.hard_end_s)
        os._exit(ENDED_BY_ITSELF)

    async def _run(self, directory: Path) -> None:
        """Load the app and run it. A listener never ends. If one fails, this raises its error."""
        app = await asyncio.to_thread(load, directory, self._environment)
        queues = QueueStorage()
        outbox = Outbox(queues, is_base64=app.settings.queues.base64, durations=self._durations)
        invoker = Invoker(outbox, self._pool, app.directory)
        listeners = self._listeners(app, queues, outbox, invoker)
        exchange = StreamingExchange() if is_streaming() else BufferedExchange()
        web = WebApp(app.routes, exchange, invoker, self._environment)
        self._front.app = Counting(web, invoker.invocations) if self._environment.get(SETTING) else web
        logger.info("host.started functions=%s", len(app.routes) + len(listeners))
        await asyncio.gather(asyncio.Event().wait(), *(one.run() for one in listeners))

    def _listeners(self, app: App, queues: QueueStorage, outbox: Outbox, invoker: Invoker) -> Sequence[Listener]:
        def queue_listener(trigger: QueueTrigger) -> QueueListener:
            poison = trigger.queue.poison
            pair = QueuePair(queues.queue(trigger.queue), queues.queue(poison) if poison else None)
            wake = outbox.subscribe(trigger.queue)
            settings = app.settings.queues
            return QueueListener(trigger.function, pair, settings, invoker, wake, self._durations)

        return [
            *(queue_listener(trigger) for trigger in app.queue_triggers),
            *(TimerListener(timer, invoker, self._locks.lock(timer.function.name)) for timer in app.timers),
        ]
