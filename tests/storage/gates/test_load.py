"""A thousand responses at once at one gate, over three processes: what that costs in storage requests."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.gate_processes import GateWorld, place
from tests.support.stage import Say, Stage

RESPONSES = 1_000


@pytest.fixture
async def busy(stage: Stage) -> AsyncIterator[GateWorld]:
    """Return three processes whose rows are not checked after each transaction, which would cost requests."""
    world = GateWorld(stage, 1)
    await world.start(is_checked=False)
    yield world
    await world.stop()


@pytest.mark.parametrize("limit", [5, 50, 5_000])
async def test_a_thousand_at_once(busy: GateWorld, limit: int, say: Say) -> None:
    """All are served, never more than the limit at once, with a few requests for many responses."""
    busy.limit(limit)
    counts = busy.stage.proxy.counts
    places = [place(number, f"caller{number % 10}") for number in range(RESPONSES)]
    await asyncio.gather(*(busy.ask(busy.process(number), one) for number, one in enumerate(places)))
    asked, writes = sum(counts.values()), counts["POST $batch"]
    assert len(busy.at_work) == min(limit, RESPONSES)
    assert writes < RESPONSES / 10
    await busy.end_all()
    ended = sum(counts.values()) - asked
    say(f"limit {limit}: {asked} requests for {RESPONSES} takes, {ended} for {RESPONSES} ends")
    assert busy.most_at_work == min(limit, RESPONSES)
    assert len(busy.order) == RESPONSES
    await busy.check()
    assert await busy.is_quiet()
