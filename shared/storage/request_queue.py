"""The queues of requests and of what no trigger could handle: messages that are more than hints.

Poison queues are read here and not by a trigger, because a message that is not base64 reaches no trigger: the platform
moves it to the poison queue without a word, and would leave it there.
"""

import asyncio
import base64
import binascii
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError
from azure.storage.queue.aio import QueueClient, QueueServiceClient

from shared.core.errors import StoreUnavailable
from shared.storage.wakeups import DEADLINE_S, KEPT_S, REQUESTS

POISON = "-poison"
BATCH = 32
HIDDEN_S = 600  # while one is seen to; what fails comes back then


@dataclass(frozen=True, slots=True)
class Letter:
    """A message as it lies in a queue."""

    id: str
    receipt: str = field(repr=False)
    text: str = field(repr=False)

    @property
    def body(self) -> bytes | None:
        """What a trigger would be given; None if the text is not base64."""
        try:
            return base64.b64decode(self.text, validate=True)
        except (binascii.Error, ValueError):
            return None


class Queues:
    """Reads and writes whole messages."""

    def __init__(self, queues: QueueServiceClient) -> None:
        self._queues = queues

    async def prepare(self) -> None:
        """Create the queues that are not there."""
        for name in (REQUESTS, REQUESTS + POISON):
            async with self._reaching(name) as queue:
                try:
                    await queue.create_queue()
                except ResourceExistsError:
                    continue

    async def put(self, name: str, body: bytes, *, delay_s: int = 0) -> None:
        """Send a message, base64 as triggers read it; raise StoreUnavailable if the queue does not take it."""
        async with self._reaching(name) as queue:
            text = base64.b64encode(body).decode()
            await queue.send_message(text, visibility_timeout=delay_s or None, time_to_live=KEPT_S)

    async def take(self, name: str) -> list[Letter]:
        """Return up to 32 messages, hidden from others for 10 minutes; none of a queue that is not there."""
        async with self._reaching(name) as queue:
            try:
                found = queue.receive_messages(messages_per_page=BATCH, max_messages=BATCH, visibility_timeout=HIDDEN_S)
                return [Letter(str(one.id), str(one.pop_receipt), one.content or "") async for one in found]
            except ResourceNotFoundError:
                return []

    async def drop(self, name: str, letter: Letter) -> None:
        """Delete a message that was taken."""
        async with self._reaching(name) as queue:
            try:
                await queue.delete_message(letter.id, letter.receipt)
            except ResourceNotFoundError:
                return

    @asynccontextmanager
    async def _reaching(self, name: str) -> AsyncIterator[QueueClient]:
        """Put a deadline on a call and turn every fault of storage into StoreUnavailable."""
        try:
            async with asyncio.timeout(DEADLINE_S), self._queues.get_queue_client(name) as queue:
                yield queue
        except (AzureError, TimeoutError) as error:
            raise StoreUnavailable from error
