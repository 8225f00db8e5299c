"""Our own queues: whoever needs one that is missing creates it. The platform's listener never does.

The first heartbeat of a process creates those that are missing. A sender that is told QueueNotFound creates the queue
and sends again, once.
https://learn.microsoft.com/rest/api/storageservices/queue-service-error-codes
"""

from typing import TYPE_CHECKING

from azure.core.exceptions import ResourceExistsError, ResourceNotFoundError

from shared.core.errors import StoreUnavailable
from shared.storage.faults import reaching

if TYPE_CHECKING:  # its import is slow: shared/bootstrap.py
    from azure.storage.queue.aio import QueueClient

DEADLINE_S = 10.0
KEPT_S = 7 * 86_400
_BEING_DELETED = "QueueBeingDeleted"


async def create_queue(queue: "QueueClient") -> None:
    """Create a queue unless it exists. Raises StoreUnavailable, also while a deletion of the queue is under way."""
    try:
        async with reaching(DEADLINE_S):
            await queue.create_queue()
    except ResourceExistsError as error:
        if getattr(error, "error_code", None) == _BEING_DELETED:
            raise StoreUnavailable from error
    except ResourceNotFoundError as error:
        raise StoreUnavailable from error


async def send_message(queue: "QueueClient", text: str, delay_s: int = 0) -> None:
    """Send a message that is kept for a week and becomes visible after `delay_s` seconds.

    If the queue does not exist, it is created, and the message is sent again. Raises StoreUnavailable if the queue does
    not accept the message within 10 s, and StoreRefused if it never will.
    """
    try:
        async with reaching(DEADLINE_S):
            await _send_or_create(queue, text, delay_s)
    except (ResourceNotFoundError, ResourceExistsError) as error:  # the latter if the queue is being deleted
        raise StoreUnavailable from error


async def _send_or_create(queue: "QueueClient", text: str, delay_s: int) -> None:
    try:
        await _send(queue, text, delay_s)
    except ResourceNotFoundError:
        await create_queue(queue)
        await _send(queue, text, delay_s)


async def _send(queue: "QueueClient", text: str, delay_s: int) -> None:
    await queue.send_message(text, visibility_timeout=delay_s or None, time_to_live=KEPT_S)


async def queue_exists(queue: "QueueClient") -> bool:
    """Return whether a queue exists. Raises StoreUnavailable."""
    try:
        async with reaching(DEADLINE_S):
            await queue.get_queue_properties()
    except ResourceNotFoundError:
        return False
    except ResourceExistsError as error:
        raise StoreUnavailable from error
    return True
