"""Storage requests without an answer: which are sent again, how our own writes are recognised, and when we give up."""

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from urllib.parse import urlsplit

import orjson
import pytest

from shared.contract.requests import parse_request
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.errors import StoreUnavailable
from shared.core.ids import new_id, shard_of
from shared.core.records import INLINE_BODY, Delivery, Record, Target
from shared.core.states import DeliveryState, Status
from tests.support.clocks import START_MS, Clock
from tests.support.fakes.peers import Gate
from tests.support.proxies.fault_proxy import StorageRequest, is_read, is_transaction
from tests.support.proxies.lossy_proxy import LossyProxy
from tests.support.sent_messages import wakeup
from tests.support.stage import ANN, CALLBACK_HOST, CALLBACK_URL, Stage

NOW_S = START_MS // 1000
HOUR_MS = 3_600_000


@pytest.fixture
async def lossy(connection_string: str) -> AsyncIterator[LossyProxy]:
    """Give the proxy that loses requests on their way to the stage's table."""
    endpoint = dict(part.partition("=")[::2] for part in connection_string.split(";"))["TableEndpoint"]
    async with LossyProxy("table", urlsplit(endpoint).port or 80) as proxy:
        yield proxy


@pytest.fixture
async def stage(lossy: LossyProxy, connection_string: str) -> AsyncIterator[Stage]:
    """Give the test an engine whose table is behind that proxy."""
    async with Stage(lossy.through(connection_string)) as stage:
        yield stage


def record() -> Record:
    """Return a new record."""
    return Record(new_id(), "ann", created_ms=START_MS, deadline_ms=START_MS + HOUR_MS)


# Sent again


@pytest.mark.parametrize("nth", range(1, 6), ids=["open", "start", "move", "end", "claim"])
async def test_a_transaction_that_never_arrived_is_sent_again(stage: Stage, lossy: LossyProxy, nth: int) -> None:
    """A lost transaction anywhere in the life of a response causes no error, and nothing happens twice."""
    stage.upstream.course = [Status.COMPLETED]
    lost = lossy.lose(is_transaction, nth)
    made = await stage.create(callback_url=CALLBACK_URL)
    await stage.fire_alarms(made.id)
    await stage.deliver()
    assert lost.happened.is_set()
    assert stage.upstream.starts == {made.id: 1}
    assert stage.upstream.polls == len(stage.receiver.posts) == 1
    assert await stage.delivery(made.id) == Delivery(Target.CALLBACK, DeliveryState.DELIVERED, 1, host=CALLBACK_HOST)
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_cancel_that_never_arrived_is_sent_again(stage: Stage, lossy: LossyProxy) -> None:
    """If the transaction of a cancel is lost, the caller still gets the cancelled response and the work is stopped."""
    made = await stage.create()
    lost = lossy.lose(is_transaction)
    cancelled, _ = await stage.engine.cancel(ANN, made.id)
    assert lost.happened.is_set()
    assert cancelled == await stage.record(made.id)
    assert cancelled.status is Status.CANCELLED
    await stage.sweep(made.id)
    assert stage.upstream.stopped == ["up_0"]


async def test_a_write_that_is_sent_again_is_recognised(stage: Stage, lossy: LossyProxy) -> None:
    """A commit succeeds if its first request and the answer to its second are lost.

    Both requests carry the same `write_id`, by which the write is recognised.
    """
    bodies = []

    def is_noted(request: StorageRequest) -> bool:
        if is_transaction(request):
            bodies.append(request.body)
        return is_transaction(request)

    lost = lossy.lose(is_noted, 1)
    unanswered = stage.proxy.drop_answer(is_transaction, 2)
    committed = await stage.ports.store.commit(ChangeSet(record()))
    assert lost.happened.is_set()
    assert unanswered.happened.is_set()
    assert await stage.record(committed.id) == committed
    assert [committed.write_id.encode() in body for body in bodies] == [True, True]


async def test_a_commit_is_given_up_after_three_tries(stage: Stage, lossy: LossyProxy) -> None:
    """A commit that gets no answer three times raises StoreUnavailable, and the record does not change."""
    committed = await stage.ports.store.commit(ChangeSet(record()))
    before = lossy.counts["POST $batch"]
    lossy.lose(is_transaction, None)
    with pytest.raises(StoreUnavailable):
        await stage.ports.store.commit(ChangeSet(replace(committed, acknowledged=True)))
    assert lossy.counts["POST $batch"] - before == 3
    assert await stage.record(committed.id) == committed


async def test_a_move_is_given_up_after_three_tries(stage: Stage, lossy: LossyProxy) -> None:
    """A move that gets no answer three times raises StoreUnavailable.

    The alarm stays where it was, for the next sweep.
    """
    alarm = Alarm(START_MS, Kind.POLL, new_id(), token="t", born_ms=START_MS)
    await stage.plant([alarm])
    before = lossy.counts["POST $batch"]
    lossy.lose(is_transaction, None)
    with pytest.raises(StoreUnavailable):
        await stage.ports.store.move(shard_of(alarm.id), [(alarm, alarm.moved(START_MS + 1_000))])
    assert lossy.counts["POST $batch"] - before == 3
    assert [found.key for found in await stage.alarms(alarm.id)] == [alarm.key]


async def test_a_sweep_acts_on_alarms_that_it_moved_before_storage_failed(stage: Stage, lossy: LossyProxy) -> None:
    """If the second of two moves fails, a sweep polls the first 50 responses and sends an immediate wake-up.

    The next sweep polls the other 50.
    """
    ids = [f"resp_a{n:031x}" for n in range(100)]
    poll = Alarm(START_MS, Kind.POLL, "", born_ms=START_MS, deadline_ms=START_MS + HOUR_MS, read_ms=START_MS - 1)
    stage.upstream.course = [Status.IN_PROGRESS]
    for one in ids:
        await stage.upstream.start({}, one)
    await stage.plant(
        [replace(poll, id=one, token=token) for one, token in zip(ids, stage.upstream.works, strict=True)]
    )
    lossy.lose(lambda request: is_transaction(request) and ids[50].encode() in request.body, None)
    assert await stage.sweep(ids[0]) == 50
    assert [work.polls for work in stage.upstream.works.values()] == [1] * 50 + [0] * 50
    assert stage.sent == [wakeup(NOW_S, 0)]

    lossy.heal()
    assert await stage.sweep(ids[0]) == 50
    assert {work.polls for work in stage.upstream.works.values()} == {1}


# Reads and posts that are not repeated


async def test_a_large_first_answer_is_returned_without_a_read(stage: Stage, lossy: LossyProxy) -> None:
    """If the first answer ends a response, its creator gets the object even while storage refuses every read."""
    stage.upstream.first = Status.COMPLETED
    stage.upstream.output = os.urandom(INLINE_BODY).hex()
    lossy.lose(is_read, None)
    made, body = await stage.engine.create(ANN, parse_request(b'{"model":"m","input":"q","background":true}'), None)
    (message,) = orjson.loads(body)["output"]
    assert message["content"][0]["text"].endswith(stage.upstream.output)
    assert made.body_rows > 0

    lossy.heal()
    assert orjson.loads(body) == await stage.shown(made.id)


class PausingClock(Clock):
    """A stage's clock on which every wait lasts until a gate is opened."""

    def __init__(self, clock: Clock, pause: Gate) -> None:
        super().__init__()
        self._clock = clock
        self._pause = pause

    def now_ms(self) -> int:
        """Return the stage's time."""
        return self._clock.ms

    async def sleep(self, seconds: float) -> None:  # noqa: ARG002
        """Wait until the gate is opened."""
        await self._pause.wait()


async def test_a_received_event_is_not_sent_again_while_its_attempt_is_not_noted(stage: Stage) -> None:
    """An event that was received is not sent again while this process cannot note the attempt.

    This holds for an outage of storage that is far longer than the claim's lease. The delivery is not given up either.
    """
    received, pause = stage.receiver.hold(), Gate()
    stage.change(clock=PausingClock(stage.clock, pause))
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await received.reached.wait()
    async with stage.proxy.refusing():
        received.open()
        await pause.reached.wait()
    for _ in range(8):
        await stage.fire_alarms(response_id)
    assert stage.clock.ms >= START_MS + 60_000
    assert (await stage.delivery(response_id)).is_open

    pause.open()
    await stage.deliver()
    assert await stage.delivery(response_id) == Delivery(
        Target.CALLBACK, DeliveryState.DELIVERED, 1, host=CALLBACK_HOST
    )
    assert len(stage.receiver.posts) == 1
