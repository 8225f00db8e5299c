"""Requests by queue, and their answers on the reply queue."""

import asyncio
import base64
import json
from dataclasses import dataclass, field

from azure.core.exceptions import AzureError

from local.chaos.load.ledger import Json
from local.chaos.plan import Call
from local.chaos.world.queues import QUEUE_S, queue_client
from local.chaos.world.site import REPLIES

TRIES = 60
PAUSE_S = 1.0
BATCH = 32


@dataclass
class QueueSender:
    """Sends requests to the app's queue, at times twice. Each has an id of its own, so copies are one request."""

    connection: str = field(repr=False)

    async def send(self, call: Call, request: Json, *, twice: bool) -> None:
        """Send a request. Repeat that while storage is away."""
        name = correlation(call)
        message = {"request": request, "reply_to": REPLIES, "correlation_id": name, "id": name}
        text = base64.b64encode(json.dumps(message).encode()).decode()
        for _ in range(2 if twice else 1):
            await self._put(text)

    async def _put(self, text: str) -> None:
        for _ in range(TRIES):
            try:
                await asyncio.to_thread(_send, self.connection, text)
            except AzureError:
                await asyncio.sleep(PAUSE_S)
            else:
                return
        raise TimeoutError("storage takes no message")


def correlation(call: Call) -> str:
    """Return the id that a queued request and its event have."""
    return f"queued-{call.number}"


def visible_requests(connection: str) -> int:
    """Return how many messages of the app's queue can be taken now, up to 32."""
    with queue_client(connection, "requests") as queue:
        return len(queue.peek_messages(max_messages=BATCH, timeout=QUEUE_S))


def hidden_requests(connection: str) -> int:
    """Return how many messages of the app's queue cannot be taken now: they arrive late, or somebody has taken them."""
    with queue_client(connection, "requests") as queue:
        whole = queue.get_queue_properties().approximate_message_count or 0
        return max(0, whole - len(queue.peek_messages(max_messages=BATCH, timeout=QUEUE_S)))


def replies(connection: str) -> list[Json]:
    """Take every event off the reply queue, and return them."""
    found = list[Json]()
    with queue_client(connection, REPLIES) as queue:
        while messages := list(queue.receive_messages(max_messages=BATCH, timeout=QUEUE_S)):
            for message in messages:
                found.append(json.loads(base64.b64decode(message.content)))
                queue.delete_message(message, timeout=QUEUE_S)
    return found


def _send(connection: str, text: str) -> None:
    with queue_client(connection, "requests") as queue:
        queue.send_message(text, timeout=QUEUE_S)
