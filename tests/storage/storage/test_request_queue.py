"""The queue of requests and the poison queues: messages are sent, received and deleted whole."""

import base64
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from urllib.parse import urlsplit

import pytest
from azure.storage.queue.aio import QueueClient, QueueServiceClient
from hypothesis import given
from hypothesis import strategies as st

from local.stack.ports import free_port
from shared.contract.responses import MAX_MESSAGE
from shared.core.errors import StoreRefused, StoreUnavailable
from shared.storage.messages import DELIVERIES, POISON, REQUESTS
from shared.storage.request_queue import BATCH, HIDDEN_S, DeadLetter, RequestQueue
from tests.support.callback_receivers import Receiver, reply
from tests.support.proxies.fault_proxy import FaultProxy, StorageRequest


@pytest.fixture
async def queues(connection_string: str) -> AsyncIterator[QueueServiceClient]:
    """Give a client of the account's queues."""
    async with QueueServiceClient.from_connection_string(connection_string, retry_total=0) as queues:
        yield queues


@pytest.fixture
async def requests(queues: QueueServiceClient) -> RequestQueue:
    """Return the queues of requests, which exist."""
    requests = RequestQueue(queues)
    await requests.prepare()
    return requests


@pytest.fixture
async def poison(queues: QueueServiceClient, requests: RequestQueue) -> AsyncIterator[QueueClient]:  # noqa: ARG001
    """Give the library's client of the poison queue, which does not decode messages."""
    async with queues.get_queue_client(REQUESTS + POISON) as client:
        yield client


# A message as stored


@given(st.binary())
def test_a_dead_letter_has_the_bytes_that_a_trigger_would_get(body: bytes) -> None:
    """The body is the message's text, decoded from base64."""
    assert DeadLetter("1", "r", base64.b64encode(body).decode()).body == body


@pytest.mark.parametrize(
    "text", ["%%%", "YQ", "YQ=", "Y Q=", "YQ==\x0b", "Y\u00a0Q==", "YQ-_", "{}", "\u00e9\u00e9\u00e9\u00e9"]
)
def test_a_text_that_is_not_base64_has_no_bytes(text: str) -> None:
    """A text that is not base64, in the standard alphabet and with padding, has no body."""
    assert DeadLetter("1", "r", text).body is None


@given(st.binary(min_size=1), st.lists(st.tuples(st.floats(0, 1), st.sampled_from(" \t\r\n"))))
def test_white_space_in_base64_is_ignored(body: bytes, spaces: list[tuple[float, str]]) -> None:
    """Spaces, tabs and line breaks may stand anywhere, as for the platform's trigger."""
    text = base64.b64encode(body).decode()
    for place, space in spaces:
        at = int(place * len(text))
        text = text[:at] + space + text[at:]
    assert DeadLetter("1", "r", text).body == body


def test_an_empty_message_has_an_empty_body() -> None:
    """An empty message is valid base64 of no bytes."""
    assert DeadLetter("1", "r", "").body == b""


def test_a_dead_letter_is_shown_without_its_content() -> None:
    """The text of a message and its receipt are not shown, because they are a caller's data and a secret."""
    assert repr(DeadLetter("m-1", "receipt", "text")) == "DeadLetter(id='m-1')"


# The queues


async def test_both_queues_of_requests_are_created_once(queues: QueueServiceClient) -> None:
    """Preparing creates the queue of requests and its poison queue, and leaves those that exist alone."""
    requests = RequestQueue(queues)
    await requests.prepare()
    await requests.send(REQUESTS, b"kept")
    await requests.prepare()
    assert [queue.name async for queue in queues.list_queues()] == [REQUESTS, REQUESTS + POISON]
    assert len(await requests.receive(REQUESTS)) == 1


async def test_a_queue_that_does_not_exist_has_no_messages(requests: RequestQueue) -> None:
    """The platform creates a poison queue with its first message, so one that does not exist is empty."""
    assert await requests.receive(DELIVERIES + POISON) == []


async def test_a_message_creates_its_queue(requests: RequestQueue, queues: QueueServiceClient) -> None:
    """If a queue was deleted, sending a message to it creates it. Until then it is missing."""
    await queues.delete_queue(REQUESTS + POISON)
    assert await requests.missing() == [REQUESTS + POISON]
    await requests.send(REQUESTS + POISON, b"{}")
    assert await requests.missing() == []
    assert len(await requests.receive(REQUESTS + POISON)) == 1


# Sending


@pytest.mark.parametrize("body", [b"", b"{}", bytes(range(256)), b"x" * 46_000])
async def test_a_message_is_received_as_it_was_sent(requests: RequestQueue, poison: QueueClient, body: bytes) -> None:
    """A message of any bytes is stored in base64, as triggers read it, and received with the same bytes."""
    await requests.send(REQUESTS + POISON, body)
    (peeked,) = await poison.peek_messages()
    assert base64.b64decode(peeked.content or "") == body
    (found,) = await requests.receive(REQUESTS + POISON)
    assert (found.id, found.body) == (peeked.id, body)


async def test_a_message_is_kept_for_a_week(requests: RequestQueue, poison: QueueClient) -> None:
    """A message that is not handled expires after 7 days."""
    await requests.send(REQUESTS + POISON, b"{}")
    (peeked,) = await poison.peek_messages()
    assert peeked.expires_on
    assert peeked.inserted_on
    assert peeked.expires_on - peeked.inserted_on == timedelta(days=7)


async def test_a_message_can_be_delayed(requests: RequestQueue, poison: QueueClient) -> None:
    """A message with a delay is in its queue and not visible yet."""
    await requests.send(REQUESTS + POISON, b"{}", delay_s=60)
    assert (await poison.get_queue_properties()).approximate_message_count == 1
    assert await requests.receive(REQUESTS + POISON) == []


# Receiving and deleting


async def test_a_received_message_is_hidden_for_ten_minutes(requests: RequestQueue, queues: QueueServiceClient) -> None:
    """A message that was received is not received again while it is handled. It becomes visible if that fails."""
    await requests.send(REQUESTS, b"{}")
    (found,) = await requests.receive(REQUESTS)
    assert await requests.receive(REQUESTS) == []
    assert HIDDEN_S == 600
    async with queues.get_queue_client(REQUESTS) as client:
        shown = await client.update_message(found.id, found.receipt, visibility_timeout=0)
    (again,) = await requests.receive(REQUESTS)
    assert (again.id, again.body) == (shown.id, b"{}")


async def test_at_most_32_messages_are_received_at_once(requests: RequestQueue) -> None:
    """A call returns as many messages as storage returns at once. Further calls return the others."""
    sent = [str(n).encode() for n in range(BATCH + 3)]
    for body in sent:
        await requests.send(REQUESTS, body)
    batches = [await requests.receive(REQUESTS) for _ in range(3)]
    assert [len(batch) for batch in batches] == [32, 3, 0]
    assert sorted(one.body or b"" for batch in batches for one in batch) == sorted(sent)


async def test_a_deleted_message_is_gone(requests: RequestQueue, poison: QueueClient) -> None:
    """A message that was received can be deleted, also twice. The others stay."""
    for body in (b"1", b"2"):
        await requests.send(REQUESTS + POISON, body)
    first, second = await requests.receive(REQUESTS + POISON)
    for _ in range(2):
        await requests.delete(REQUESTS + POISON, first)
    assert (await poison.get_queue_properties()).approximate_message_count == 1
    await requests.delete(REQUESTS + POISON, second)
    assert (await poison.get_queue_properties()).approximate_message_count == 0


async def test_a_message_that_was_received_again_is_not_deleted(requests: RequestQueue, poison: QueueClient) -> None:
    """A receipt that is no longer valid deletes nothing, because another reader handles the message now."""
    await requests.send(REQUESTS + POISON, b"{}")
    (found,) = await requests.receive(REQUESTS + POISON)
    await poison.update_message(found.id, found.receipt, visibility_timeout=0)
    (again,) = await requests.receive(REQUESTS + POISON)
    with suppress(StoreUnavailable):  # Azurite answers 400, and Azure 404 as if the message was gone
        await requests.delete(REQUESTS + POISON, found)
    assert (await poison.get_queue_properties()).approximate_message_count == 1
    await requests.delete(REQUESTS + POISON, again)
    assert (await poison.get_queue_properties()).approximate_message_count == 0


async def test_a_message_that_a_queue_does_not_take_is_no_outage(requests: RequestQueue) -> None:
    """Its size would be the same the next time."""
    await requests.send(REQUESTS + POISON, b"x" * MAX_MESSAGE)
    with pytest.raises(StoreRefused):
        await requests.send(REQUESTS + POISON, b"x" * (MAX_MESSAGE + 1))


# Storage that fails


async def test_every_fault_of_storage_is_one_error(connection_string: str) -> None:
    """If storage cannot be reached, every call raises StoreUnavailable."""
    endpoint = dict(part.partition("=")[::2] for part in connection_string.split(";"))["QueueEndpoint"]
    dead = connection_string.replace(f":{urlsplit(endpoint).port}/", f":{free_port()}/")
    async with QueueServiceClient.from_connection_string(dead, retry_total=0) as away:
        requests = RequestQueue(away)
        for call in (
            requests.prepare(),
            requests.missing(),
            requests.send(REQUESTS, b"{}"),
            requests.receive(REQUESTS),
            requests.delete(REQUESTS, DeadLetter("1", "r", "")),
        ):
            with pytest.raises(StoreUnavailable):
                await call


async def test_a_queue_that_is_being_deleted_is_a_fault(connection_string: str) -> None:
    """Storage answers 409 for half a minute after a queue was deleted. Azurite does not, so a server stands in."""
    fields = ("x-ms-error-code: QueueBeingDeleted", "content-type: application/xml")
    body = b"<?xml version='1.0'?><Error><Code>QueueBeingDeleted</Code><Message>gone soon</Message></Error>"
    async with Receiver(reply(409, *fields, body=body)) as storage:
        parts = dict(part.partition("=")[::2] for part in connection_string.split(";"))
        address = f"QueueEndpoint=http://127.0.0.1:{storage.port}/{parts['AccountName']}"
        account = f"AccountName={parts['AccountName']};AccountKey={parts['AccountKey']};{address}"
        async with QueueServiceClient.from_connection_string(account, retry_total=0) as queues:
            requests = RequestQueue(queues)
            for call in (
                requests.prepare(),
                requests.missing(),
                requests.send(REQUESTS, b"{}"),
                requests.receive(REQUESTS),
                requests.delete(REQUESTS, DeadLetter("1", "r", "")),
            ):
                with pytest.raises(StoreUnavailable):
                    await call
        assert len(storage.requests) == 5


async def test_a_message_that_a_broken_connection_may_have_lost_is_reported(connection_string: str) -> None:
    """If storage takes a message and its answer is lost, the sender gets StoreUnavailable, and the message is there."""
    endpoint = dict(part.partition("=")[::2] for part in connection_string.split(";"))["QueueEndpoint"]
    async with (
        FaultProxy("queue", urlsplit(endpoint).port or 80) as proxy,
        QueueServiceClient.from_connection_string(proxy.through(connection_string), retry_total=0) as queues,
    ):
        requests = RequestQueue(queues)
        await requests.prepare()
        lost = proxy.drop_answer(is_message)
        with pytest.raises(StoreUnavailable):
            await requests.send(REQUESTS, b"{}")
        assert lost.happened.is_set()
        assert len(await requests.receive(REQUESTS)) == 1


def is_message(request: StorageRequest) -> bool:
    """Return whether a request puts a message on a queue."""
    return request.method == "POST"
