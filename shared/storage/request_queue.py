"""The queue of requests and the poison queues, whose messages are more than hints.

Poison queues are read here and not by a trigger. A message that is not base64 reaches no trigger. The platform silently
moves it to the poison queue, and a trigger there would not receive it either.
"""

import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from azure.core.exceptions import AzureError, ResourceNotFoundError

from shared.core.errors import StoreUnavailable
from shared.storage.faults import reaching
from shared.storage.messages import POISON, REQUESTS
from shared.storage.queues import DEADLINE_S, create_queue, queue_exists, send_message

if TYPE_CHECKING:  # its import is slow: shared/bootstrap.py
    from azure.storage.queue.aio import QueueClient, QueueServiceClient

_OURS = (REQUESTS, REQUESTS + POISON)  # only others send to the first, and an operator may look for the second
BATCH = 32  # the most messages that storage returns at once
_WITHOUT_SPACE = dict.fromkeys(map(ord, " \t\r\n"))
HIDDEN_S = 600  # while a message is handled. If that fails, it becomes visible again.


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A message as stored in a queue. `receipt` is needed to delete it."""

    id: str
    receipt: str = field(repr=False)
    text: str = field(repr=False)

    @property
    def body(self) -> bytes | None:
        """The bytes that a trigger would get, or None if the text is not base64.

        White space in the text is ignored, as the platform does:
        https://learn.microsoft.com/dotnet/api/system.convert.frombase64string
        """
        try:
            return base64.b64decode(self.text.translate(_WITHOUT_SPACE), validate=True)
        except (binascii.Error, ValueError):
            return None


class RequestQueue:
    """Sends, receives and deletes whole messages."""

    def __init__(self, queues: "QueueServiceClient") -> None:
        self._queues = queues

    async def prepare(self) -> None:
        """Create the queues that do not exist. Raises StoreUnavailable."""
        for name in _OURS:
            async with self._queues.get_queue_client(name) as queue:
                await create_queue(queue)

    async def missing(self) -> list[str]:
        """Return the names of the queues that do not exist. Raises StoreUnavailable if one does not answer."""
        return [name for name in _OURS if not await self._exists(name)]

    async def _exists(self, name: str) -> bool:
        async with self._queues.get_queue_client(name) as queue:
            return await queue_exists(queue)

    async def send(self, name: str, body: bytes, *, delay_s: int = 0) -> None:
        """Send a message in base64, as triggers read it. It becomes visible after `delay_s` seconds.

        A queue that does not exist is created. Raises StoreUnavailable if the queue does not accept the message, and
        StoreRefused if it never will.
        """
        async with self._queues.get_queue_client(name) as queue:
            await send_message(queue, base64.b64encode(body).decode(), delay_s)

    async def receive(self, name: str) -> list[DeadLetter]:
        """Return up to 32 messages, and hide them from other readers for 10 minutes.

        A queue that does not exist has none. Raises StoreUnavailable.
        """
        async with self._reaching(name) as queue:
            try:
                found = queue.receive_messages(messages_per_page=BATCH, max_messages=BATCH, visibility_timeout=HIDDEN_S)
                return [DeadLetter(str(one.id), str(one.pop_receipt), one.content or "") async for one in found]
            except ResourceNotFoundError:
                return []

    async def delete(self, name: str, letter: DeadLetter) -> None:
        """Delete a message that was received. It is not an error if the message is gone.

        Raises StoreUnavailable.
        """
        async with self._reaching(name) as queue:
            try:
                await queue.delete_message(letter.id, letter.receipt)
            except ResourceNotFoundError:
                return

    @asynccontextmanager
    async def _reaching(self, name: str) -> AsyncIterator["QueueClient"]:
        """Yield a client of the queue. Raises StoreUnavailable for every fault, also if there is no queue."""
        try:
            async with reaching(DEADLINE_S), self._queues.get_queue_client(name) as queue:
                yield queue
        except AzureError as error:
            raise StoreUnavailable from error
