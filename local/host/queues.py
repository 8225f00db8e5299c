"""Queue triggers: polling, running and settling messages as the platform's storage extension does."""

import asyncio
import logging
import random
from dataclasses import dataclass

from azure.core.exceptions import AzureError, ResourceNotFoundError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.host import bindings, storage
from local.host.durations import Durations
from local.host.functions import Function
from local.host.invocation import Invoker
from local.host.message_visibility import Lease
from local.host.messages import decode_text, trigger_datum, trigger_metadata
from local.host.queue_policy import VISIBILITY_S, Verdict, pause_s, verdict
from local.host.settings import QueueSettings
from local.host.waiting import is_set_within

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueuePair:
    """A queue and its poison queue, or None for a queue that is itself a poison queue."""

    main: QueueClient
    poison: QueueClient | None


class QueueListener:
    """Passes the messages of one queue to one function until it is stopped."""

    def __init__(
        self,
        function: Function,
        queues: QueuePair,
        settings: QueueSettings,
        invoker: Invoker,
        wake: asyncio.Event,
        *,
        durations: Durations = Durations(),
    ) -> None:
        self._durations = durations
        self._function = function
        self._queue = queues.main
        self._poison_queue = queues.poison
        self._settings = settings
        self._invoker = invoker
        self._wake = wake
        self._is_stopping = False
        self._running: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Take no more messages. `run` returns when those already taken are settled."""
        self._is_stopping = True
        self._wake.set()

    async def run(self) -> None:
        """Poll and run until stopped. A storage outage only slows this down."""
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
        try:
            pages = self._queue.receive_messages(
                messages_per_page=self._settings.batch_size,
                max_messages=self._settings.batch_size,
                visibility_timeout=VISIBILITY_S,
            )
            return [message async for message in pages]
        except ResourceNotFoundError:
            return await self._create()
        except AzureError as error:
            logger.warning("queue.unavailable queue=%s error=%s", self._queue.queue_name, type(error).__name__)
            return []

    async def _create(self) -> list[QueueMessage]:
        """Create the queue and return no messages."""
        try:
            await storage.create(self._queue)
        except AzureError as error:
            logger.warning("queue.not_created queue=%s error=%s", self._queue.queue_name, type(error).__name__)
        return []

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
        """Run the function for a message and settle it. If storage refuses that, the message becomes visible again."""
        try:
            body = decode_text(message.content or "", is_base64=self._settings.base64)
        except ValueError:
            body = None
        try:
            if body is None or (message.dequeue_count or 0) > self._settings.max_dequeue_count:
                await self._give_up(message, message.pop_receipt)
            else:
                await self._process(message, body)
        except AzureError as error:
            logger.warning(
                "message.not_settled queue=%s id=%s error=%s",
                self._queue.queue_name,
                message.id,
                type(error).__name__,
            )

    async def _process(self, message: QueueMessage, body: bytes) -> None:
        async with Lease(self._queue, message) as lease:
            succeeded = await self._run(message, body)
        match verdict(
            succeeded=succeeded,
            dequeue_count=message.dequeue_count or 0,
            max_dequeue_count=self._settings.max_dequeue_count,
            has_poison_queue=self._poison_queue is not None,
        ):
            case Verdict.DELETE:
                await self._queue.delete_message(message.id, lease.receipt)
            case Verdict.POISON:
                await self._give_up(message, lease.receipt)
            case Verdict.RELEASE:
                await self._release(message, lease.receipt)

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
        trigger = self._function.trigger
        annotation = self._function.types[trigger.name]
        is_binary = annotation is bytes or trigger.fields.get("dataType") == "BINARY"
        datum = trigger_datum(body, is_binary=is_binary)
        return bindings.decode(trigger, annotation, datum, trigger_metadata(message))

    async def _release(self, message: QueueMessage, receipt: str | None) -> None:
        delay_s = round(self._settings.visibility_timeout_s)
        await self._queue.update_message(message.id, receipt, visibility_timeout=delay_s)

    async def _give_up(self, message: QueueMessage, receipt: str | None) -> None:
        """Move the message unchanged to the poison queue. Without a poison queue, leave it until its lease ends."""
        if self._poison_queue is None:
            return
        await storage.send(self._poison_queue, message.content or "")
        await self._queue.delete_message(message.id, receipt)
