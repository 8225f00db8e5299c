"""Reply queues: which ones callers may name, and that every outcome of a message is an answer."""

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from azure.storage.queue import TextBase64DecodePolicy
from azure.storage.queue.aio import QueueServiceClient
from hypothesis import given
from hypothesis import strategies as st

from local.stack.ports import free_port
from shared.core.outcomes import Answer, SendError
from shared.senders.admission import Outlook
from shared.senders.reply_queues import ReplySender, is_allowed
from shared.storage.messages import DELIVERIES, POISON, REQUESTS, RUNS, WAKEUPS
from shared.storage.queues import DEADLINE_S
from tests.support.conditions import until
from tests.support.fast_loop import BACKEND, skip
from tests.support.proxies.fault_proxy import FaultProxy, StorageRequest

OURS = [f"{name}{end}" for name in (WAKEUPS, DELIVERIES, RUNS, REQUESTS) for end in ("", POISON)]
NAMES = st.from_regex(r"[a-z0-9](-?[a-z0-9]){2,20}", fullmatch=True)
QUEUE = "replies-1"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests on a loop whose clock can be put forward."""
    return BACKEND


@pytest.fixture
async def proxy(connection_string: str) -> AsyncIterator[FaultProxy]:
    """Give a proxy of the account's queues."""
    endpoint = dict(part.partition("=")[::2] for part in connection_string.split(";"))["QueueEndpoint"]
    async with FaultProxy("queue", urlsplit(endpoint).port or 80) as proxy:
        yield proxy


@pytest.fixture
async def queues(proxy: FaultProxy, connection_string: str) -> AsyncIterator[QueueServiceClient]:
    """Give a client of the account's queues, through the proxy, with one reply queue."""
    through = proxy.through(connection_string)
    async with QueueServiceClient.from_connection_string(through, retry_total=0) as queues:
        await queues.create_queue(QUEUE)
        yield queues


def is_message(request: StorageRequest) -> bool:
    """Return whether a request puts a message on a queue."""
    return request.method == "POST"


async def messages(queues: QueueServiceClient, name: str = QUEUE) -> list[str]:
    """Return the messages of a queue as a trigger reads them."""
    async with queues.get_queue_client(name, message_decode_policy=TextBase64DecodePolicy()) as queue:
        return [one.content or "" for one in await queue.peek_messages(max_messages=32)]


def outcome(answer: Answer) -> tuple[int | None, SendError | None]:
    """Return the status and the error of an answer."""
    assert answer.retry_after is None
    assert answer.duration_ms >= 0
    return answer.status, answer.error


# Which queues callers may name


@pytest.mark.parametrize(
    ("name", "patterns", "allowed"),
    [
        ("replies-1", ("replies-1",), True),
        ("replies-1", ("replies-*",), True),
        ("replies-1", ("orders", "replies-?"), True),
        ("replies-1", ("replies-[0-3]",), True),
        ("replies-9", ("replies-[0-3]",), False),
        ("replies-10", ("replies-?",), False),
        ("replies", ("replies-*",), False),
        ("my-replies", ("replies*",), False),
        ("replies-1", ("Replies-*",), False),
        ("replies-1", (), False),
        ("replies-1", ("",), False),
        ("requests-1", ("*",), True),
        ("replies-1-poison", ("*",), False),
        ("replies-poison", ("replies-poison",), False),
    ],
)
def test_a_name_must_match_a_pattern_as_a_whole(name: str, patterns: tuple[str, ...], allowed: bool) -> None:
    """A queue is allowed if one pattern of the deployment matches its whole name, in the same case.

    The poison queue of another one never is.
    """
    assert is_allowed(name, patterns) is allowed


@given(NAMES, st.lists(NAMES.map(lambda name: f"{name[:2]}*")))
def test_another_pattern_allows_no_fewer_queues(name: str, patterns: list[str]) -> None:
    """Without a pattern no queue is allowed. Each pattern can only add queues, and `*` allows all that are not ours."""
    assert not is_allowed(name, ())
    if is_allowed(name, tuple(patterns)):
        assert is_allowed(name, (*patterns, "other"))
    assert is_allowed(name, (*patterns, "*")) is (name not in OURS)


@pytest.mark.parametrize("name", OURS)
@pytest.mark.parametrize("pattern", ["*", ""])
def test_our_own_queues_are_never_allowed(name: str, pattern: str) -> None:
    """The queues of the triggers and their poison queues are refused, even if a pattern names one of them."""
    assert not is_allowed(name, (pattern or name,))


# Sending


async def test_nothing_ever_holds_a_message_up(queues: QueueServiceClient) -> None:
    """All reply queues are on one account, so there is neither a circuit breaker nor a line."""
    sender = ReplySender(queues)
    assert (
        sender.outlook(QUEUE, "ann", first=True) == sender.outlook(QUEUE, "ann", first=False) == Outlook(0, False, True)
    )


async def test_a_message_is_on_the_queue_as_the_runtime_reads_it(queues: QueueServiceClient) -> None:
    """An event is sent as one message in base64, which is kept for 7 days. The answer is storage's 201."""
    body = '{"type":"response.completed","text":"\u00e9\U0001f642"}'
    assert outcome(await ReplySender(queues).post(QUEUE, {"traceparent": "x"}, body.encode())) == (201, None)
    assert await messages(queues) == [body]
    async with queues.get_queue_client(QUEUE) as queue:
        (stored,) = await queue.peek_messages()
    assert stored.expires_on
    assert stored.inserted_on
    assert stored.expires_on - stored.inserted_on == timedelta(days=7)


async def test_each_post_goes_to_its_own_queue(queues: QueueServiceClient) -> None:
    """One sender sends to every queue of the account."""
    await queues.create_queue("replies-2")
    sender = ReplySender(queues)
    for name in (QUEUE, "replies-2", QUEUE):
        await sender.post(name, {}, name.encode())
    assert await messages(queues) == [QUEUE, QUEUE]
    assert await messages(queues, "replies-2") == ["replies-2"]


async def test_a_queue_that_does_not_exist_is_a_404(queues: QueueServiceClient) -> None:
    """A missing queue is found only when an event is sent, and is not created."""
    sender = ReplySender(queues)
    await sender.vet("replies-9")
    assert outcome(await sender.post("replies-9", {}, b"{}")) == (404, None)
    assert [queue.name async for queue in queues.list_queues()] == [QUEUE]


async def test_a_refusal_of_storage_is_its_status(connection_string: str) -> None:
    """If storage refuses the account's key, the answer has the status of the refusal."""
    key = dict(part.partition("=")[::2] for part in connection_string.split(";"))["AccountKey"]
    wrong = connection_string.replace(key, "d3Jvbmc=")
    async with QueueServiceClient.from_connection_string(wrong, retry_total=0) as queues:
        assert outcome(await ReplySender(queues).post(QUEUE, {}, b"{}")) == (403, None)


async def test_storage_that_cannot_be_reached_is_a_connection_error(connection_string: str) -> None:
    """If there is no connection to storage, the answer is the error `connect`."""
    endpoint = dict(part.partition("=")[::2] for part in connection_string.split(";"))["QueueEndpoint"]
    dead = connection_string.replace(f":{urlsplit(endpoint).port}/", f":{free_port()}/")
    async with QueueServiceClient.from_connection_string(dead, retry_total=0) as queues:
        assert outcome(await ReplySender(queues).post(QUEUE, {}, b"{}")) == (None, SendError.CONNECT)


async def test_a_lost_answer_is_a_connection_error(proxy: FaultProxy, queues: QueueServiceClient) -> None:
    """If the answer is lost, the message may be there. The delivery is tried again, because it is at least once."""
    lost = proxy.drop_answer(is_message)
    assert outcome(await ReplySender(queues).post(QUEUE, {}, b"{}")) == (None, SendError.CONNECT)
    assert lost.happened.is_set()
    assert await messages(queues) == ["{}"]


async def test_storage_that_does_not_answer_is_a_timeout(proxy: FaultProxy, queues: QueueServiceClient) -> None:
    """After 10 s without an answer, the attempt ends with the error `timeout`."""
    proxy.delay(is_message, 600)
    before = proxy.counts.total()
    posting = asyncio.create_task(ReplySender(queues).post(QUEUE, {}, b"{}"))

    async def is_sent() -> bool:
        return proxy.counts.total() > before

    await until(is_sent)
    skip(DEADLINE_S - 1)
    await asyncio.sleep(0.05)
    assert not posting.done()
    skip(1)
    assert outcome(await asyncio.wait_for(posting, 5)) == (None, SendError.TIMEOUT)


async def test_the_duration_of_an_attempt_is_measured(proxy: FaultProxy, queues: QueueServiceClient) -> None:
    """The answer has the milliseconds that the attempt took."""
    proxy.delay(is_message, 0.1)
    began_s = time.monotonic()
    answer = await ReplySender(queues).post(QUEUE, {}, b"{}")
    assert 100 <= answer.duration_ms <= (time.monotonic() - began_s) * 1000


# Admission


async def test_every_attempt_is_admitted(queues: QueueServiceClient) -> None:
    """All queues are on one account, so no attempt waits for another, whatever its answer was."""
    sender = ReplySender(queues)
    for _ in range(10):
        async with sender.admit(QUEUE, "ann", first=True, patience_s=0) as admission:
            admission.answer = Answer(503, None, None, 1)
    async with (
        sender.admit(QUEUE, "ann", first=False, patience_s=0) as one,
        sender.admit(QUEUE, "ann", first=False, patience_s=0) as other,
    ):
        assert one is not other
