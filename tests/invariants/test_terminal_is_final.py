"""Invariant 3: terminal is final. The end that is written first decides, and nothing changes it later."""

import asyncio

import pytest

from shared.engine import Engine
from tests.invariants.ends import ENDS, begin
from tests.invariants.lives import Life
from tests.support.crash_points import new_process
from tests.support.proxies.fault_proxy import is_write
from tests.support.stage import Stage


@pytest.mark.parametrize("slower", ENDS)
@pytest.mark.parametrize("faster", ENDS)
async def test_the_end_that_is_written_first_decides(stage: Stage, slower: str, faster: str) -> None:
    """One process has decided on an end when another process writes one. The late write changes nothing."""
    life = Life(stage, "race")
    await begin(life)
    gate = stage.proxy.pause(is_write)
    decided = asyncio.ensure_future(ENDS[slower][0](Engine(new_process(stage)), life))
    await gate.reached.wait()
    await ENDS[faster][0](stage.engine, life)
    assert (await stage.record(life.id)).status.is_terminal
    shown = await stage.shown(life.id)
    gate.open()
    await asyncio.wait([decided])
    assert await stage.shown(life.id) == shown
    await life.finish(stage.engine)
    ((_, event),) = life.events()
    assert event["data"] == shown


@pytest.mark.parametrize("name", ENDS)
async def test_nothing_ends_a_response_again(stage: Stage, name: str) -> None:
    """After an end and its callback, every other end leaves the response as it is, and sends no event."""
    life = Life(stage, "again")
    await begin(life)
    end, status = ENDS[name]
    await end(stage.engine, life)
    assert (await stage.record(life.id)).status is status
    await life.finish(stage.engine)
    shown = await stage.shown(life.id)
    for end, _ in ENDS.values():
        await end(stage.engine, life)
        assert await stage.shown(life.id) == shown
    await life.finish(stage.engine)
    assert len(life.events()) == 1
