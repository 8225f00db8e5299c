"""Settling a message after its function has run: delete it, release it, or move it to the poison queue."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from azure.core.exceptions import AzureError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.host import storage
from local.host.durations import Durations
from local.host.settings import QueueSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class QueuePair:
    """A queue and its poison queue, or None for a queue that is itself a poison queue."""

    main: QueueClient
    poison: QueueClient | None


class Settlement:
    """Settles the messages of one queue. If storage refuses that in every try, `gone` is set."""

    def __init__(self, queues: QueuePair, settings: QueueSettings, durations: Durations, gone: asyncio.Event) -> None:
        self._queue = queues.main
        self._poison_queue = queues.poison
        self._settings = settings
        self._durations = durations
        self._gone = gone

    async def delete(self, message: QueueMessage, receipt: str | None) -> None:
        """Delete the message."""
        await self._insist(message, lambda: self._queue.delete_message(message.id, receipt))

    async def release(self, message: QueueMessage, receipt: str | None) -> None:
        """Make the message visible after the visibility timeout of host.json."""
        delay_s = round(self._settings.visibility_timeout_s)
        await self._insist(message, lambda: self._queue.update_message(message.id, receipt, visibility_timeout=delay_s))

    async def give_up(self, message: QueueMessage, receipt: str | None) -> None:
        """Move the message unchanged to the poison queue. Without a poison queue, leave it until its lease ends."""
        poison = self._poison_queue
        if poison is None:
            return
        # The platform says this about every message that it moves, also about one that it received for the first time.
        logger.warning(
            "Message has reached MaxDequeueCount of %s. Moving message to queue '%s'.",
            self._settings.max_dequeue_count,
            poison.queue_name,
        )
        if await self._insist(message, lambda: storage.send(poison, message.content or "")):
            await self.delete(message, receipt)

    async def _insist(self, message: QueueMessage, operation: Callable[[], Awaitable[object]]) -> bool:
        """Return whether storage carried the operation out."""
        try:
            await storage.insist(operation, self._durations.storage_gone_s)
        except AzureError as error:
            logger.warning(
                "message.not_settled queue=%s id=%s error=%s", self._queue.queue_name, message.id, type(error).__name__
            )
            if storage.is_refusal(error):
                self._gone.set()
            return False
        return True
