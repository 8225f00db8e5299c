"""Chains of wake-ups drive every response to its end, and lost, late or repeated messages lose no work.

The clocks of these tests run, because a queue hides its messages by real time.
"""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import orjson
import pytest

from shared.contract.requests import parse_request
from shared.core.states import Status
from shared.engine import Engine
from shared.storage.messages import DELIVERIES, WAKEUPS
from tests.support.clocks import SkewedClock
from tests.support.conditions import until
from tests.support.queue_pump import queue_host
from tests.support.stage import ANN, CALLBACK_URL, Stage

RESPONSES = 12


@pytest.fixture
async def stage(connection_string: str) -> AsyncIterator[Stage]:
    """Give a stage whose libraries repeat requests, as those of the service do. Wake-ups must not be lost by chance."""
    async with Stage(connection_string, sdk_retries=2) as stage:
        yield stage


async def engine(stage: Stage, ahead_ms: int) -> Engine:
    """Return the engine of another process on the same storage, whose clock is `ahead_ms` ahead."""
    return Engine(await stage.new_ports(SkewedClock(ahead_ms)))


async def submitted(maker: Engine) -> list[str]:
    """Create responses with callbacks, all at once. Return their ids."""
    body = orjson.dumps({"model": "m", "input": "q", "background": True, "callback_url": CALLBACK_URL})
    made = await asyncio.gather(*(maker.create(ANN, parse_request(body), None) for _ in range(RESPONSES)))
    return [record.id for record, _ in made]


async def finished(stage: Stage, ids: list[str]) -> None:
    """Wait until every response has completed and its callback has arrived exactly once."""

    async def all_delivered() -> bool:
        return len(stage.receiver.posts) >= len(ids)

    await until(all_delivered, 60)
    assert {(await stage.record(one)).status for one in ids} == {Status.COMPLETED}
    arrived = Counter(orjson.loads(post.body)["data"]["id"] for post in stage.receiver.posts)
    assert arrived == Counter(ids)
    assert stage.upstream.starts == Counter(ids)


@pytest.mark.parametrize(
    ("maker_ms", "sweepers_ms"),
    [(0, [0]), (2_000, [0]), (0, [2_000]), (0, [0, 2_000])],
    ids=["one clock", "maker ahead", "sweeper ahead", "both sweep"],
)
async def test_chains_work_with_clocks_that_differ(stage: Stage, maker_ms: int, sweepers_ms: list[int]) -> None:
    """Wake-ups alone drive every response to its end, without a heartbeat and even with clocks that differ by 2 s."""
    stage.upstream.course = [Status.IN_PROGRESS, Status.IN_PROGRESS, Status.COMPLETED]
    maker = await engine(stage, maker_ms)
    sweepers = [await engine(stage, ahead_ms) for ahead_ms in sweepers_ms]
    async with queue_host(stage, *sweepers):
        await finished(stage, await submitted(maker))


async def test_clearing_every_queue_every_second_loses_nothing(stage: Stage) -> None:
    """If all messages are deleted every second, a heartbeat every second still drives every response to its end."""
    stage.upstream.course = [Status.IN_PROGRESS, Status.COMPLETED]
    worker = await engine(stage, 0)

    async def beat() -> None:
        while True:
            await clear(stage)
            await worker.heartbeat()
            await asyncio.sleep(1)

    async with queue_host(stage, worker):
        beating = asyncio.create_task(beat())
        await finished(stage, await submitted(worker))
        beating.cancel()


async def test_a_repeated_message_changes_nothing(stage: Stage) -> None:
    """Queues deliver at least once. If every message is handled three times, nothing is started or delivered twice."""
    worker = await engine(stage, 0)
    ids = await submitted(worker)
    async with queue_host(stage, worker, copies=3):
        await finished(stage, ids)


async def clear(stage: Stage) -> None:
    """Delete all messages of the `nudges` and `deliveries` queues."""
    for name in (WAKEUPS, DELIVERIES):
        async with stage.queue(name) as queue:
            await queue.clear_messages()
