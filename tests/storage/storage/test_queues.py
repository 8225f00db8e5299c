"""Our own queues: who needs one creates it, once, and every other fault is one error."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from azure.storage.queue.aio import QueueClient

from shared.core.errors import StoreUnavailable
from shared.storage.queues import create_queue, queue_exists, send_message
from tests.support.callback_receivers import Receiver, replies, reply

NAME = "runs"


@pytest.fixture
async def queue(connection_string: str) -> AsyncIterator[QueueClient]:
    """Give a client of a queue that does not exist."""
    async with QueueClient.from_connection_string(connection_string, NAME, retry_total=0) as queue:
        yield queue


@asynccontextmanager
async def answering(connection_string: str, *answers: tuple[int, str]) -> AsyncIterator[tuple[QueueClient, Receiver]]:
    """Give a client of a queue whose storage gives these answers: statuses and error codes. The last one repeats."""
    scripts = [
        reply(
            status,
            f"x-ms-error-code: {code}",
            "content-type: application/xml",
            body=f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>m</Message></Error>".encode(),
        )
        for status, code in answers
    ]
    async with Receiver(replies(*scripts)) as storage:
        parts = dict(part.partition("=")[::2] for part in connection_string.split(";"))
        address = f"QueueEndpoint=http://127.0.0.1:{storage.port}/{parts['AccountName']}"
        account = f"AccountName={parts['AccountName']};AccountKey={parts['AccountKey']};{address}"
        async with QueueClient.from_connection_string(account, NAME, retry_total=0) as queue:
            yield queue, storage


async def test_a_queue_is_created_unless_it_exists(queue: QueueClient) -> None:
    """Creating a queue that exists leaves its messages alone, also if it has other metadata than a new one."""
    assert not await queue_exists(queue)
    await create_queue(queue)
    await send_message(queue, "kept")
    await queue.set_queue_metadata({"owner": "ann"})
    await create_queue(queue)
    assert await queue_exists(queue)
    assert [message.content async for message in queue.receive_messages()] == ["kept"]


async def test_a_message_to_a_missing_queue_arrives(queue: QueueClient) -> None:
    """The sender creates the queue and sends again. Nothing else creates queues."""
    await send_message(queue, "first")
    await send_message(queue, "second", delay_s=60)
    assert [message.content async for message in queue.receive_messages()] == ["first"]
    assert (await queue.get_queue_properties()).approximate_message_count == 2


async def test_a_queue_is_created_once_for_a_message(connection_string: str) -> None:
    """If the queue is still missing after its creation, sending fails. It is not tried a third time."""
    missing, made = (404, "QueueNotFound"), (201, "")
    async with answering(connection_string, missing, made, missing) as (queue, storage):
        with pytest.raises(StoreUnavailable):
            await send_message(queue, "lost")
        assert len(storage.requests) == 3


@pytest.mark.parametrize(
    ("status", "code"), [(409, "QueueBeingDeleted"), (403, "AuthenticationFailed"), (503, "ServerBusy")]
)
async def test_any_other_refusal_is_a_fault(connection_string: str, status: int, code: str) -> None:
    """A queue that is being deleted accepts nothing for half a minute, and cannot be created meanwhile."""
    async with answering(connection_string, (status, code)) as (queue, storage):
        for call in (send_message(queue, "lost"), create_queue(queue), queue_exists(queue)):
            with pytest.raises(StoreUnavailable):
                await call
        assert len(storage.requests) == 3


async def test_a_missing_queue_that_is_being_deleted_is_a_fault(connection_string: str) -> None:
    """If the queue cannot be created, sending fails."""
    async with answering(connection_string, (404, "QueueNotFound"), (409, "QueueBeingDeleted")) as (queue, storage):
        with pytest.raises(StoreUnavailable):
            await send_message(queue, "lost")
        assert len(storage.requests) == 2


async def test_a_queue_that_another_process_creates_meanwhile_is_used(connection_string: str) -> None:
    """If the queue exists when it is to be created, the message is sent again all the same."""
    answers = (404, "QueueNotFound"), (409, "QueueAlreadyExists"), (404, "QueueNotFound")
    async with answering(connection_string, *answers) as (queue, storage):
        with pytest.raises(StoreUnavailable):
            await send_message(queue, "lost")
        assert len(storage.requests) == 3
