"""Slots: how many send at once, who comes next, and who is told at once that waiting leads nowhere."""

import asyncio
import random
from contextlib import AsyncExitStack, suppress

import pytest

from shared.senders.bulkhead import Bulkhead, NoCapacity

LONG_S = 30.0


async def take(bulkhead: Bulkhead, *hosts: str) -> AsyncExitStack:
    """Take a slot for each of the hosts, which must be free; closing what is returned gives them back."""
    held = AsyncExitStack()
    for host in hosts:
        await held.enter_async_context(bulkhead.slot(host, 0))
    return held


async def is_free(bulkhead: Bulkhead, *hosts: str) -> bool:
    """Tell whether slots for these hosts, all at once, are to be had now."""
    try:
        async with await take(bulkhead, *hosts):
            return True
    except NoCapacity:
        return False


async def send(bulkhead: Bulkhead, host: str, sent: list[str], for_s: float = 0) -> None:
    """Note who has got a slot, and keep it for this time."""
    async with bulkhead.slot(host, LONG_S):
        sent.append(host)
        await asyncio.sleep(for_s)


async def line_up(*sends: asyncio.Task[None]) -> None:
    """Return once all of these stand in line, or hold their slot."""
    for _ in sends:
        await asyncio.sleep(0)


async def refused_after_s(bulkhead: Bulkhead, host: str, patience_s: float = LONG_S) -> float:
    """Wait for a slot that is not to be had and return how long it took to learn that."""
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    with pytest.raises(NoCapacity):
        async with bulkhead.slot(host, patience_s):
            raise AssertionError("there was a slot")
    return loop.time() - began_s


async def test_a_host_has_a_quarter_and_all_hosts_the_whole() -> None:
    """Of eight slots one host has two; four hosts have them all, and a fifth has none."""
    bulkhead = Bulkhead(8)
    async with await take(bulkhead, "a", "a"):
        assert not await is_free(bulkhead, "a")
        async with await take(bulkhead, "b", "b", "c", "c", "d", "d"):
            assert not await is_free(bulkhead, "e")
        assert await is_free(bulkhead, "e")
    assert await is_free(bulkhead, "a", "a")


async def test_slots_go_out_in_the_order_of_coming() -> None:
    """Whoever came first is served first, also before one who comes just as a slot is freed."""
    bulkhead, sent = Bulkhead(4), list[str]()
    async with await take(bulkhead, "a", "b", "c"), asyncio.TaskGroup() as group:
        held = await take(bulkhead, "d")
        await line_up(*(group.create_task(send(bulkhead, host, sent)) for host in "efg"))
        await held.aclose()
        async with asyncio.timeout(LONG_S):
            await send(bulkhead, "h", sent)
    assert sent == ["e", "f", "g", "h"]


async def test_who_waits_for_his_host_is_passed_by_those_of_others() -> None:
    """A host at its share does not hold up the line: others take what is free, and it goes on in its own time."""
    bulkhead, sent = Bulkhead(4), list[str]()
    held = await take(bulkhead, "hole")
    async with asyncio.TaskGroup() as group:
        await line_up(group.create_task(send(bulkhead, "hole", sent)))
        async with asyncio.timeout(LONG_S):
            await asyncio.gather(*(send(bulkhead, host, sent) for host in "abcabc"))
        assert "hole" not in sent
        await held.aclose()
    assert sent[-1] == "hole"


async def test_a_host_that_frees_nothing_is_given_up() -> None:
    """The first who waits learns it after the time it takes to be sure, whoever comes later at once."""
    bulkhead = Bulkhead(8, stall_s=0.2)
    async with await take(bulkhead, "hole", "hole"):
        assert 0.19 < await refused_after_s(bulkhead, "hole") < 5
        assert await refused_after_s(bulkhead, "hole") < 0.1
        assert await is_free(bulkhead, "other")
    assert await is_free(bulkhead, "hole", "hole")


async def test_the_time_counts_from_when_the_share_was_taken() -> None:
    """A host that was idle for long is not stalled the moment it has all of its slots."""
    bulkhead, sent = Bulkhead(4, stall_s=0.2), list[str]()
    async with asyncio.TaskGroup() as group:
        async with await take(bulkhead, "a"):
            assert await refused_after_s(bulkhead, "a") > 0.19
        held = await take(bulkhead, "a")
        await line_up(group.create_task(send(bulkhead, "a", sent)))
        await held.aclose()
    assert sent == ["a"]


async def test_a_quick_host_under_a_burst_is_never_given_up() -> None:
    """A hundred wait for much longer than a stall takes, but slots are freed all the time: all of them send."""
    bulkhead, sent = Bulkhead(24, stall_s=1.0), list[str]()
    began_s = asyncio.get_running_loop().time()
    await asyncio.gather(*(send(bulkhead, "quick", sent, for_s=0.1) for _ in range(100)))
    assert len(sent) == 100
    assert asyncio.get_running_loop().time() - began_s > 1.0


async def test_a_host_that_swallows_everything_holds_its_share_of_hands_and_no_more() -> None:
    """Half of the work of 32 hands goes to it, and the other half is done as if it were not there."""
    bulkhead, sent = Bulkhead(24, stall_s=0.1), list[str]()
    work = iter(["hole", "good"] * 300)

    async def hand() -> None:
        for host in work:
            with suppress(NoCapacity):
                await send(bulkhead, host, sent, for_s=LONG_S if host == "hole" else 0.005)

    hands = [asyncio.create_task(hand()) for _ in range(32)]
    async with asyncio.timeout(LONG_S / 2):
        while sent.count("good") < 300:  # noqa: ASYNC110 - hands tell no one
            await asyncio.sleep(0.01)
    assert sent.count("hole") == 6
    for task in hands:
        task.cancel()
    await asyncio.wait(hands)
    assert await is_free(bulkhead, *("hole" for _ in range(6)))


async def test_patience_has_an_end_where_others_have_all_slots() -> None:
    """A host that has none of the slots is not stalled: who waits for it does so for as long as he wants."""
    bulkhead = Bulkhead(4, stall_s=0.05)
    async with await take(bulkhead, "a", "b", "c", "d"):
        assert 0.29 < await refused_after_s(bulkhead, "e", patience_s=0.3) < 5


async def test_patience_ends_before_a_stall_is_certain() -> None:
    """Whoever has little time does not wait for the judgement."""
    bulkhead = Bulkhead(4)
    async with await take(bulkhead, "a"):
        assert await refused_after_s(bulkhead, "a", patience_s=0.1) < 0.9


async def test_a_host_that_stalls_while_others_have_all_slots_is_given_up_too() -> None:
    """The last slot of its share goes to another of the host's while one more waits: from then on it counts."""
    bulkhead, sent = Bulkhead(4, stall_s=0.2), list[str]()
    held = await take(bulkhead, "a", "b", "c", "d")
    async with asyncio.TaskGroup() as group:
        swallowed = group.create_task(send(bulkhead, "hole", sent, for_s=LONG_S))
        await line_up(swallowed)
        late = group.create_task(refused_after_s(bulkhead, "hole"))
        await asyncio.sleep(0.1)
        await held.aclose()
        assert 0.29 < await late < 5
        swallowed.cancel()


async def test_what_is_cancelled_in_the_line_takes_no_slot() -> None:
    """A place in the line that is left is nobody's."""
    bulkhead, sent = Bulkhead(4), list[str]()
    held = await take(bulkhead, "a")
    waiting = asyncio.create_task(send(bulkhead, "a", sent))
    await line_up(waiting)
    waiting.cancel()
    await asyncio.wait([waiting])
    await held.aclose()
    assert await is_free(bulkhead, "a", "b", "c", "d")
    assert sent == []


async def test_what_is_cancelled_just_as_it_gets_its_slot_gives_it_back() -> None:
    """Between being served and knowing it, a send can end: the next in line is served."""
    bulkhead, sent = Bulkhead(4), list[str]()
    held = await take(bulkhead, "a")
    waiting, following = [asyncio.create_task(send(bulkhead, "a", sent)) for _ in range(2)]
    await line_up(waiting, following)
    await held.aclose()
    waiting.cancel()
    await asyncio.wait([waiting, following])
    assert waiting.cancelled()
    assert sent == ["a"]
    assert await is_free(bulkhead, "a", "b", "c", "d")


@pytest.mark.parametrize("seed", range(5))
async def test_no_slot_is_ever_lost(seed: int) -> None:
    """Whatever is cancelled, refused, broken or done, and when: in the end all slots are there, and never were more."""
    rng, bulkhead, under_way = random.Random(seed), Bulkhead(8, stall_s=0.01), list[str]()

    async def attempt(host: str) -> None:
        async with bulkhead.slot(host, rng.uniform(0, 0.02)):
            under_way.append(host)
            assert len(under_way) <= 8
            assert under_way.count(host) <= 2
            try:
                await asyncio.sleep(rng.choice((0, 0.001, 0.02)))
                if rng.random() < 0.2:
                    raise ConnectionError
            finally:
                under_way.remove(host)

    tasks = []
    for _ in range(300):
        tasks.append(asyncio.create_task(attempt(rng.choice("abcdefg"))))
        if rng.random() < 0.3:
            await asyncio.sleep(0)
        if rng.random() < 0.3:
            rng.choice(tasks).cancel()
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(end) for end in ends} <= {type(None), NoCapacity, ConnectionError, asyncio.CancelledError}
    assert await is_free(bulkhead, *"aabbccdd")
