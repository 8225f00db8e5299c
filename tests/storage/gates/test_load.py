"""A thousand responses at once at one gate, over three processes: what that costs in storage requests."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from tests.support.gate_processes import GateWorld, place
from tests.support.stage import Say, Stage


@pytest.fixture
async def busy(stage: Stage) -> AsyncIterator[GateWorld]:
    """Return three processes whose rows are not checked after each transaction, which would cost requests."""
    world = GateWorld(stage, 1)
    await world.start(is_checked=False)
    yield world
    await world.stop()


@pytest.mark.parametrize(("limit", "responses"), [(5, 300), (50, 1_000), (5_000, 1_000)])
async def test_many_at_once(busy: GateWorld, limit: int, responses: int, say: Say) -> None:
    """All are served, never more than the limit at once, with a few requests for many responses.

    At limit 5 a transaction hands on at most five permits, so a thousand responses would take over a minute here.
    """
    busy.limit(limit)
    counts = busy.stage.proxy.counts
    places = [place(number, f"caller{number % 10}") for number in range(responses)]
    await asyncio.gather(*(busy.ask(busy.process(number), one) for number, one in enumerate(places)))
    asked, writes = sum(counts.values()), counts["POST $batch"]
    assert len(busy.at_work) == min(limit, responses)
    assert writes < responses / 8
    await busy.end_all()
    ended = sum(counts.values()) - asked
    say(f"limit {limit}: {asked} requests for {responses} takes, {ended} for {responses} ends")
    assert busy.most_at_work == min(limit, responses)
    assert len(busy.order) == responses
    await busy.check()
    assert await busy.is_quiet()
