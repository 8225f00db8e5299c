"""Sweeps: move first, act after; every alarm on its own, whatever the others do."""

import asyncio
import logging

import pytest

from shared.alarms import Alarm, Kind
from shared.errors import UpstreamUnavailable
from shared.ids import new_id, shard_of
from shared.records import CALLBACK
from shared.states import Status
from shared.sweeping import sweep
from tests.scripted import Work
from tests.worlds import CALLBACK_URL, START_MS, Sent, Stage, until

pytestmark = pytest.mark.anyio

SHARD = "a"
NOW_S = START_MS // 1000
A_BUG = ZeroDivisionError("a bug of ours")


async def running(stage: Stage, count: int, shard: str = SHARD, due_ms: int = START_MS) -> list[Alarm]:
    """Plant the polls of as many responses, whose work goes on for ever."""
    found = [
        Alarm(due_ms, Kind.POLL, f"resp_{shard}{n:031x}", token=f"t{n}", born_ms=due_ms, read_ms=due_ms)
        for n in range(count)
    ]
    for alarm in found:
        stage.upstream.works[alarm.token] = Work(alarm.token, {}, [Status.IN_PROGRESS], Status.QUEUED)
    for alarm in found:
        assert alarm.deadline_ms == 0
    await stage.plant(found)
    return found
