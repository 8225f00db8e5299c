"""Slots for polls: as many as leave the event loop quick, given in order, and none is lost."""

import asyncio
import time

import pytest

from shared.runtime.poll_slots import LEAST, MOST, SLOW_S, PollSlots


def test_a_slow_turn_takes_slots_away_and_a_quick_one_gives_one_back() -> None:
    """There are never fewer than 4, so that polls go on, and never more than 1,024."""
    slots = PollSlots()
    before = slots.most
    slots.note_turn(SLOW_S * 2)
    assert slots.most < before
    for _ in range(200):
        slots.note_turn(SLOW_S * 2)
    assert slots.most == LEAST
    slots.note_turn(SLOW_S)
    assert slots.most == LEAST + 1
    for _ in range(2_000):
        slots.note_turn(0)
    assert slots.most == MOST


def full() -> PollSlots:
    """Return slots of which there are four, in a loop that stays slow for long."""
    slots = PollSlots()
    for _ in range(200):
        slots.note_turn(1)
    return slots


async def test_polls_wait_in_order() -> None:
    """Those that come first have the slots, and whoever leaves one gives it to the first in the line."""
    slots, begun, gates = full(), list[int](), [asyncio.Event() for _ in range(12)]

    async def poll(n: int) -> None:
        async with slots.slot():
            begun.append(n)
            slots.note_turn(1)  # no slot is added
            await gates[n].wait()

    polls = [asyncio.create_task(poll(n)) for n in range(12)]
    await asyncio.sleep(0.01)
    assert begun[:4] == [0, 1, 2, 3]
    assert len(begun) <= 6
    for gate in gates:
        gate.set()
    await asyncio.gather(*polls)
    assert begun == list(range(12))


@pytest.mark.parametrize("is_given", [False, True], ids=["in the line", "given a slot just now"])
async def test_a_poll_that_is_cut_off_leaves_no_hole(is_given: bool) -> None:
    """Whether it still waits, or has been given a slot in the same moment, the others go on."""
    slots, done = full(), list[str]()

    async def poll(name: str, gate: asyncio.Event) -> None:
        async with slots.slot():
            slots.note_turn(1)
            await gate.wait()
            done.append(name)

    gate, other = asyncio.Event(), asyncio.Event()
    other.set()
    holders = [asyncio.create_task(poll(f"holder {n}", gate)) for n in range(8)]
    await asyncio.sleep(0.01)
    cut, last = asyncio.create_task(poll("cut off", other)), asyncio.create_task(poll("last", other))
    await asyncio.sleep(0.01)
    if is_given:
        gate.set()
        await asyncio.sleep(0)
    cut.cancel()
    gate.set()
    await asyncio.gather(*holders, last)
    await asyncio.wait([cut])
    assert "last" in done
    async with asyncio.timeout(5):
        await asyncio.gather(*(poll(f"{n}", other) for n in range(20)))


async def test_polls_of_a_slow_upstream_are_not_limited() -> None:
    """They only wait, so every turn of the loop is quick, and hundreds are under way at once."""
    slots, under_way, most = PollSlots(), 0, 0

    async def poll() -> None:
        nonlocal under_way, most
        async with slots.slot():
            under_way += 1
            most = max(most, under_way)
            await asyncio.sleep(0.5)
            under_way -= 1

    async with asyncio.timeout(20):
        for _ in range(3):
            await asyncio.gather(*(poll() for _ in range(200)))
    assert most > 100


def work(seconds: float) -> None:
    """Use the processor for so long."""
    until_s = time.thread_time() + seconds
    while time.thread_time() < until_s:
        pass


async def test_a_busy_loop_has_few_polls_under_way() -> None:
    """Each takes a millisecond of the processor a few times. So one turn of the loop serves a few, and not hundreds."""
    slots, under_way, seen = PollSlots(), 0, list[int]()

    async def poll() -> None:
        nonlocal under_way
        async with slots.slot():
            under_way += 1
            for _ in range(5):
                work(0.001)
                await asyncio.sleep(0)
            seen.append(under_way)
            under_way -= 1

    await asyncio.gather(*(poll() for _ in range(600)))
    later = sorted(seen[len(seen) // 2 :])
    assert later[len(later) // 2] <= 4 * SLOW_S / 0.001
