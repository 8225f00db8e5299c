"""Keeps a received message invisible while its function runs."""

import asyncio
from types import TracebackType
from typing import Self

from azure.core.exceptions import AzureError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.host.durations import Durations
from local.host.storage import insist, is_refusal


class Lease:
    """Keeps the message invisible within its block. Afterwards, `receipt` is the pop receipt to settle it with.

    If storage refuses a renewal in every try, `gone` is set. Nothing happens to the block.
    """

    def __init__(self, queue: QueueClient, message: QueueMessage, durations: Durations, gone: asyncio.Event) -> None:
        self.receipt = message.pop_receipt
        self._queue = queue
        self._message = message
        self._durations = durations
        self._gone = gone
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        self._task = asyncio.create_task(self._renew())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # If a renewal were cancelled, the new receipt would be unknown.
        async with self._renewing:
            self._task.cancel()

    async def _renew(self) -> None:
        while True:
            await asyncio.sleep(self._durations.message_hidden_s / 2)
            try:
                await insist(self._extend, self._durations.storage_gone_s)
            except AzureError as error:
                if is_refusal(error):
                    self._gone.set()
                return  # otherwise another receiver has the message, or it is gone

    async def _extend(self) -> None:
        async with self._renewing:
            renewed = await self._queue.update_message(
                self._message.id, self.receipt, visibility_timeout=round(self._durations.message_hidden_s)
            )
            self.receipt = renewed.pop_receipt
