"""Queue outputs: written to storage, and announced to the listeners of this process."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from functools import partial

from local.host import storage
from local.host.addresses import QueueAddress
from local.host.durations import Durations
from local.host.messages import encode_text
from local.host.storage import QueueStorage


class Outbox:
    """Writes the outputs of functions."""

    def __init__(self, queues: QueueStorage, *, is_base64: bool, durations: Durations) -> None:
        self._queues = queues
        self._durations = durations
        self._is_base64 = is_base64
        self._listeners: defaultdict[QueueAddress, list[asyncio.Event]] = defaultdict(list)

    def subscribe(self, address: QueueAddress) -> asyncio.Event:
        """Return an event that is set whenever an output has been written to the queue."""
        event = asyncio.Event()
        self._listeners[address].append(event)
        return event

    async def send(self, address: QueueAddress, bodies: Iterable[bytes]) -> None:
        """Write the messages in order. When this returns, all of them are on the queue."""
        queue = self._queues.queue(address)
        for body in bodies:
            text = encode_text(body, is_base64=self._is_base64)
            await storage.insist(partial(storage.send, queue, text), self._durations.storage_gone_s)
        for listener in self._listeners[address]:
            listener.set()
