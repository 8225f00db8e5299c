"""A crash delays work by about a minute, whatever the process was doing. Then another process continues it."""

import asyncio
import itertools
from collections.abc import Coroutine, Iterator
from typing import Any

import orjson
import pytest

from shared.core.ids import derived_id, shard_of
from shared.core.states import Status
from tests.support.failover import RemainingProcess
from tests.support.fakes.peers import Gate
from tests.support.stage import ANN, CALLBACK_URL, Stage

SHARD = "a"
ASKED: dict[str, Any] = {"model": "m", "input": "question", "background": True, "callback_url": CALLBACK_URL}
# A lease is at most 30 s, and a heartbeat finds what is due after 60 s at the latest.
# After a repeated start, the first poll follows after a tenth of the response's age.
COSTS_MS = 60_000 + 7_000


def keys() -> Iterator[str]:
    """Yield idempotency keys whose responses are all in one shard."""
    for key in map(str, itertools.count()):
        if shard_of(derived_id(ANN.name.encode(), key.encode(), orjson.dumps(ASKED))) == SHARD:
            yield key


async def crashes(process: Coroutine[Any, Any, object], gate: Gate) -> None:
    """Crash a process while it is held at a gate."""
    task = asyncio.create_task(process)
    await gate.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    gate.open()


async def polls(stage: Stage, key: str) -> None:
    """Crash before the answer of a poll is used."""
    made = await stage.create(key=key, **ASKED)
    stage.clock.advance(1)
    await crashes(stage.sweep(made.id), stage.upstream.hold_polls())


async def waits(stage: Stage, key: str) -> None:
    """Crash after taking the wake-up for a poll."""
    await stage.create(key=key, **ASKED)


async def starts(stage: Stage, key: str) -> None:
    """Crash before the answer of a create call is used."""
    await crashes(stage.create(key=key, **ASKED), stage.upstream.hold_starts())


async def ends(stage: Stage, key: str) -> None:
    """Crash after an end that has claimed an attempt, before the attempt."""
    stage.receiver.is_full = True
    await stage.ended(key=key, **ASKED)
    await stage.deliver()
    stage.receiver.is_full = False


async def delivers(stage: Stage, key: str) -> None:
    """Crash during an attempt."""
    gate = stage.receiver.hold()
    await stage.ended(key=key, **ASKED)
    await gate.reached.wait()
    await stage.crash()
    stage.receiver.gate = None
    stage.receiver.posts.clear()


@pytest.mark.parametrize("beat_s", [*range(0, 60, 5), 59])
async def test_a_crash_costs_a_minute_whenever_the_heartbeat_is_due(stage: Stage, beat_s: int) -> None:
    """After a crash, all callbacks arrive within 67 s, whenever the next heartbeat is due.

    All responses are in one shard, so alarms that are handled or removed meanwhile come before the next alarm.
    """
    stage.upstream.course = [Status.COMPLETED]
    given = keys()
    for crash in (polls, waits, starts, ends, delivers):
        await crash(stage, next(given))
    crashed_ms = stage.clock.ms
    survivor = RemainingProcess(stage, await stage.process(), crashed_ms + beat_s * 1000)

    async def have_arrived() -> bool:
        return len({orjson.loads(post.body)["data"]["id"] for post in stage.receiver.posts}) == 5

    await survivor.run_until(have_arrived, crashed_ms + COSTS_MS)
