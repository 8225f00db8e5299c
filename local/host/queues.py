"""Queue triggers: polling, running and settling messages as the platform's storage extension does."""

import asyncio
import logging
import random

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue import QueueMessage

from local.host import bindings, storage
from local.host.durations import Durations
from local.host.errors import StorageGone
from local.host.functions import Function
from local.host.invocation import Invoker
from local.host.message_visibility import Lease
from local.host.messages import decode_text, trigger_datum, trigger_metadata
from local.host.queue_policy import Verdict, pause_s, verdict
from local.host.settings import QueueSettings
from local.host.settlement import QueuePair, Settlement
from local.host.waiting import is_set_within

logger = logging.getLogger(__name__)


class QueueListener:
    """Passes the messages of one queue to one function until it is stopped. It never creates the queue."""

    def __init__(
        self,
        function: Function,
        queues: QueuePair,
        settings: QueueSettings,
        invoker: Invoker,
        wake: asyncio.Event,
        durations: Durations,
    ) -> None:
        self._function = function
        self._queue = queues.main
        self._has_poison_queue = queues.poison is not None
        self._settings = settings
        self._invoker = invoker
        self._wake = wake
        self._durations = durations
        self._gone = asyncio.Event()
        self._settlement = Settlement(queues, settings, durations, self._gone)
        self._exists = False
        self._is_stopping = False
        self._running: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Take no more messages. `run` returns when those already taken are settled."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Poll and run until stopped.

        Raise StorageGone as soon as polls have had no connection, or a message could not be settled or renewed, for as
        long as the platform waits. Functions that run are left running.
        """
        polling = asyncio.create_task(self._poll())
        gone = asyncio.create_task(self._gone.wait())
        try:
            await asyncio.wait([polling, gone], return_when=asyncio.FIRST_COMPLETED)
            if self._gone.is_set():
                raise StorageGone(f"queue {self._queue.queue_name}")
            await polling
        finally:
            polling.cancel()
            gone.cancel()
            await asyncio.wait([polling, gone])

    async def _poll(self) -> None:
        empty_polls = 0
        while not self._is_stopping:
            self._wake.clear()
            messages = await self._receive()
            for message in messages:
                self._start(message)
            if messages:
                empty_polls = 0
                await self._fall_to(self._settings.new_batch_threshold)
            else:
                empty_polls += 1
                await self._pause(empty_polls)
        await self._fall_to(0)

    async def _receive(self) -> list[QueueMessage]:
        """Return the next messages, or none if there are none, or no queue, or if storage cannot say."""
        try:
            return await storage.insist(self._ask, self._durations.storage_gone_s)
        except ResourceNotFoundError:
            self._exists = False
        except AzureError as error:
            self._exists = False
            logger.warning("queue.unavailable queue=%s error=%s", self._queue.queue_name, type(error).__name__)
            if storage.has_no_connection(error):
                self._gone.set()
        return []

    async def _ask(self) -> list[QueueMessage]:
        self._exists = self._exists or await storage.exists(self._queue)
        if not self._exists:
            return []
        pages = self._queue.receive_messages(
            messages_per_page=self._settings.batch_size,
            max_messages=self._settings.batch_size,
            visibility_timeout=round(self._durations.message_hidden_s),
        )
        return [message async for message in pages]

    def _start(self, message: QueueMessage) -> None:
        task = asyncio.create_task(self._handle(message))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _fall_to(self, running: int) -> None:
        while len(self._running) > running:
            await asyncio.wait(self._running, return_when=asyncio.FIRST_COMPLETED)

    async def _pause(self, empty_polls: int) -> None:
        jitter = random.uniform(0.8, 1.2)
        if not self._is_stopping:
            await is_set_within(self._wake, pause_s(empty_polls, jitter, self._settings.max_polling_interval_s))

    async def _handle(self, message: QueueMessage) -> None:
        """Run the function for a message and settle it. A message that is not base64 is poison at once."""
        try:
            body = decode_text(message.content or "", is_base64=self._settings.base64)
        except ValueError:
            body = None
        if body is None or (message.dequeue_count or 0) > self._settings.max_dequeue_count:
            await self._settlement.give_up(message, message.pop_receipt)
        else:
            await self._process(message, body)

    async def _process(self, message: QueueMessage, body: bytes) -> None:
        async with Lease(self._queue, message, self._durations, self._gone) as lease:
            succeeded = await self._run(message, body)
        match verdict(
            succeeded=succeeded,
            dequeue_count=message.dequeue_count or 0,
            max_dequeue_count=self._settings.max_dequeue_count,
            has_poison_queue=self._has_poison_queue,
        ):
            case Verdict.DELETE:
                await self._settlement.delete(message, lease.receipt)
            case Verdict.POISON:
                await self._settlement.give_up(message, lease.receipt)
            case Verdict.RELEASE:
                await self._settlement.release(message, lease.receipt)

    async def _run(self, message: QueueMessage, body: bytes) -> bool:
        try:
            await self._invoker.invoke(self._function, self._trigger_value(message, body))
        except Exception:
            logger.exception(
                "function.failed name=%s message=%s attempt=%s",
                self._function.name,
                message.id,
                message.dequeue_count,
            )
            return False
        return True

    def _trigger_value(self, message: QueueMessage, body: bytes) -> object:
        """Return what the function receives. Raise ValueError if the platform would not call the function."""
        trigger = self._function.trigger
        datum = trigger_datum(body, is_binary=trigger.is_binary)
        return bindings.decode(trigger, self._function.types[trigger.name], datum, trigger_metadata(message, datum))
