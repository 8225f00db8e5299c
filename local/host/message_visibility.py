"""Keeps a received message invisible while its function runs."""

import asyncio
from types import TracebackType
from typing import Self

from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.queue import QueueMessage
from azure.storage.queue.aio import QueueClient

from local.host.queue_policy import VISIBILITY_S, renewal_after_failure_s


class Lease:
    """Keeps the message invisible within its block. Afterwards, `receipt` is the pop receipt to settle it with."""

    def __init__(self, queue: QueueClient, message: QueueMessage, visibility_s: int = VISIBILITY_S) -> None:
        self.receipt = message.pop_receipt
        self._queue = queue
        self._message = message
        self._visibility_s = visibility_s
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
        normal_s = delay_s = self._visibility_s / 2
        while True:
            await asyncio.sleep(delay_s)
            try:
                await self._extend()
                delay_s = normal_s
            except HttpResponseError as error:
                if error.status_code is None or error.status_code < 500:
                    return  # another receiver has the message, or it is gone
                delay_s = renewal_after_failure_s(delay_s)
            except AzureError:
                delay_s = renewal_after_failure_s(delay_s)

    async def _extend(self) -> None:
        async with self._renewing:
            renewed = await self._queue.update_message(
                self._message.id, self.receipt, visibility_timeout=self._visibility_s
            )
            self.receipt = renewed.pop_receipt
