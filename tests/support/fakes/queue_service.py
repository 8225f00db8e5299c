"""Queue Storage in memory: messages that become visible later, at least once, in no promised order.

A client has the part of azure-storage-queue that the product uses. tests/model/test_storage_contract.py runs the same
tests on it and on Azurite.
"""

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Self

from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceNotFoundError

HIDDEN_S = 30  # unless a reader asks for another time


@dataclass
class Message:
    """A message. It is visible from `visible_s` on, by the clock of the service."""

    id: str
    content: str
    visible_s: float
    pop_receipt: str = ""
    dequeue_count: int = 0


class QueueService:
    """The queues of an account. `now_s` returns its time in seconds."""

    def __init__(self, now_s: Callable[[], float], on_visible: Callable[[str, float], None] | None = None) -> None:
        """Take the clock. `on_visible` is told a queue, and when a message of it will be visible."""
        self.queues: dict[str, list[Message]] = {}
        self._now_s = now_s
        self._on_visible = on_visible
        self._numbers = 0

    def hide(self, name: str, message: Message, seconds: float) -> None:
        """Hide a message for some seconds from now on."""
        message.visible_s = self._now_s() + seconds
        if self._on_visible:
            self._on_visible(name, message.visible_s)

    def create(self, name: str) -> bool:
        """Create a queue unless it exists. Return whether it was missing."""
        is_missing = name not in self.queues
        self.queues.setdefault(name, [])
        return is_missing

    def send(self, name: str, content: str, delay_s: float) -> None:
        """Put a message into a queue, where it becomes visible after some seconds. Raises KeyError."""
        self._numbers += 1
        message = Message(f"message-{self._numbers}", content, 0.0)
        self.queues[name].append(message)
        self.hide(name, message, delay_s)

    def receive(self, name: str, most: int, hidden_s: float) -> list[Message]:
        """Return visible messages, and hide them from other readers for some seconds. Raises KeyError."""
        found = [one for one in self.queues[name] if one.visible_s <= self._now_s()][:most]
        for one in found:
            self._numbers += 1
            one.pop_receipt, one.dequeue_count = f"receipt-{self._numbers}", one.dequeue_count + 1
            self.hide(name, one, hidden_s)
        return [Message(**vars(one)) for one in found]

    def delete(self, name: str, message_id: str, pop_receipt: str) -> None:
        """Delete a message. Raises KeyError if it is gone, and ValueError if another reader has it by now."""
        found = next((one for one in self.queues[name] if one.id == message_id), None)
        if found is None:
            raise KeyError(message_id)
        if found.pop_receipt != pop_receipt:
            raise ValueError(pop_receipt)
        self.queues[name].remove(found)


class QueueTrouble:
    """What may happen to a call on its way. By default nothing does."""

    async def meet(self) -> None:
        """Raise AzureError if the call fails before the service has it."""


class FakeQueue:
    """A client of one queue."""

    def __init__(self, service: QueueService, name: str, trouble: QueueTrouble) -> None:
        self._service, self._name, self._trouble = service, name, trouble

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close nothing."""

    async def create_queue(self) -> None:
        """Create the queue. Raises ResourceExistsError if it exists."""
        await self._trouble.meet()
        if not self._service.create(self._name):
            raise ResourceExistsError

    async def get_queue_properties(self) -> None:
        """Return nothing. Raises ResourceNotFoundError if the queue does not exist."""
        await self._trouble.meet()
        if self._name not in self._service.queues:
            raise ResourceNotFoundError

    async def send_message(self, content: str, *, visibility_timeout: int | None = None, time_to_live: int = 0) -> None:
        """Send a message. Raises ResourceNotFoundError if the queue does not exist."""
        await self._trouble.meet()
        assert visibility_timeout is None or 0 <= visibility_timeout < (time_to_live or 7 * 86_400)
        try:
            self._service.send(self._name, content, visibility_timeout or 0)
        except KeyError:
            raise ResourceNotFoundError from None

    async def receive_messages(
        self, *, messages_per_page: int = 1, max_messages: int = 1, visibility_timeout: int = HIDDEN_S
    ) -> AsyncIterator[Message]:
        """Yield visible messages, which are hidden then. Raises ResourceNotFoundError if the queue does not exist."""
        await self._trouble.meet()
        try:
            found = self._service.receive(self._name, min(messages_per_page, max_messages), visibility_timeout)
        except KeyError:
            raise ResourceNotFoundError from None
        for one in found:
            yield one

    async def delete_message(self, message_id: str, pop_receipt: str) -> None:
        """Delete a message. Raises ResourceNotFoundError if it is gone, and HttpResponseError for an old receipt."""
        await self._trouble.meet()
        try:
            self._service.delete(self._name, message_id, pop_receipt)
        except KeyError:
            raise ResourceNotFoundError from None
        except ValueError:
            raise HttpResponseError("PopReceiptMismatch") from None


class FakeQueues:
    """A client of all queues of the account."""

    def __init__(self, service: QueueService, trouble: QueueTrouble | None = None) -> None:
        self._service, self._trouble = service, trouble or QueueTrouble()

    def get_queue_client(self, name: str, **_options: Any) -> FakeQueue:
        """Return a client of one queue."""
        return FakeQueue(self._service, name, self._trouble)

    async def close(self) -> None:
        """Close nothing."""
