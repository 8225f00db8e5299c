"""The bulkhead: which waiter is next, which waiters are refused at once, and that no slot is lost."""

import asyncio
import random
import time
from contextlib import suppress

import pytest

from shared.senders.bulkhead import Bulkhead, NoCapacity
from tests.unit.senders.slots import LONG_S, answer, is_free, line_up, refused_after_s, send, take


async def test_slots_go_out_in_the_order_of_arrival() -> None:
    """A waiter is served before one that arrives just as a slot becomes free."""
    bulkhead, sent = Bulkhead(4), list[str]()
    async with await take(bulkhead, "a", "b", "c"), asyncio.TaskGroup() as group:
        held = await take(bulkhead, "d")
        await line_up(*(group.create_task(send(bulkhead, host, sent)) for host in "efg"))
        await held.aclose()
        async with asyncio.timeout(LONG_S):
            await send(bulkhead, "h", sent)
    assert sent == ["e", "f", "g", "h"]


async def test_a_waiter_for_a_full_host_does_not_hold_up_others() -> None:
    """Waiters for other hosts take the free slots. The waiter is served once its host has released a slot."""
    bulkhead, sent = Bulkhead(4), list[str]()
    held = await take(bulkhead, "hole")
    async with asyncio.TaskGroup() as group:
        await line_up(group.create_task(send(bulkhead, "hole", sent)))
        async with asyncio.timeout(LONG_S):
            await asyncio.gather(*(send(bulkhead, host, sent) for host in "abcabc"))
        assert "hole" not in sent
        await held.aclose()
    assert sent[-1] == "hole"


async def test_a_host_that_releases_no_slot_is_given_up() -> None:
    """The first waiter is refused after the stall time. Later waiters are refused at once."""
    bulkhead = Bulkhead(8, stall_s=0.2)
    async with await take(bulkhead, "hole", "hole"):
        assert 0.19 < await refused_after_s(bulkhead, "hole") < 5
        assert await refused_after_s(bulkhead, "hole") < 0.1
        assert await is_free(bulkhead, "other")
    assert await is_free(bulkhead, "hole", "hole")


async def test_the_stall_time_starts_when_the_share_is_used_up() -> None:
    """A host that was idle before is not stalled as soon as it uses its whole share."""
    bulkhead, sent = Bulkhead(4, stall_s=0.2), list[str]()
    async with asyncio.TaskGroup() as group:
        async with await take(bulkhead, "a"):
            assert await refused_after_s(bulkhead, "a") > 0.19
        held = await take(bulkhead, "a")
        await line_up(group.create_task(send(bulkhead, "a", sent)))
        await held.aclose()
    assert sent == ["a"]


async def test_a_quick_host_under_a_burst_is_never_given_up() -> None:
    """Five hundred attempts wait for longer than the stall time.

    All of them are sent, because slots are released all the time.
    """
    bulkhead, sent = Bulkhead(24, stall_s=1.0), list[str]()
    began_s = asyncio.get_running_loop().time()
    await asyncio.gather(*(send(bulkhead, "quick", sent, for_s=0.1) for _ in range(500)))
    assert len(sent) == 500
    assert asyncio.get_running_loop().time() - began_s > 1.0


async def test_a_process_that_stood_still_gives_up_no_host_for_that() -> None:
    """What it has not seen meanwhile may be a release. Here the clock of a waiting attempt comes before it."""
    bulkhead, sent = Bulkhead(8, stall_s=0.2), list[str]()
    first = await take(bulkhead, "a")
    await answer(bulkhead, "a")  # so the host may have all slots
    _others = await take(bulkhead, *("a" for _ in range(7)))
    sends = [asyncio.create_task(send(bulkhead, "a", sent, for_s=0.25)) for _ in range(2)]
    await line_up(*sends)
    await asyncio.sleep(0.05)
    await first.aclose()  # the next attempt has this slot, and will release it after the time of the one behind it
    await line_up(*sends)
    time.sleep(1.0)  # noqa: ASYNC251 - it stands still
    await asyncio.gather(*sends)
    assert sent == ["a", "a"]


async def test_a_host_that_never_answers_holds_only_its_share_of_workers() -> None:
    """Half of the work of 32 workers is for this host. The other half is done as if the host did not exist."""
    bulkhead, sent = Bulkhead(24, stall_s=0.1), list[str]()
    work = iter(["hole", "good"] * 300)

    async def hand() -> None:
        for host in work:
            with suppress(NoCapacity):
                await send(bulkhead, host, sent, for_s=LONG_S if host == "hole" else 0.005)

    hands = [asyncio.create_task(hand()) for _ in range(32)]
    async with asyncio.timeout(LONG_S / 2):
        while sent.count("good") < 300:  # noqa: ASYNC110 - the workers signal nothing
            await asyncio.sleep(0.01)
    assert sent.count("hole") == 6
    for task in hands:
        task.cancel()
    await asyncio.wait(hands)
    assert await is_free(bulkhead, *("hole" for _ in range(6)))


async def test_a_waiter_gives_up_after_its_patience() -> None:
    """A host without any slot is not stalled. If other hosts have all slots, a waiter waits for its whole patience."""
    bulkhead = Bulkhead(4, stall_s=0.05)
    async with await take(bulkhead, "a", "b", "c", "d"):
        assert 0.29 < await refused_after_s(bulkhead, "e", patience_s=0.3) < 5


async def test_patience_may_end_before_the_stall_time() -> None:
    """A waiter with little patience does not wait until its host counts as stalled."""
    bulkhead = Bulkhead(4)
    async with await take(bulkhead, "a"):
        assert await refused_after_s(bulkhead, "a", patience_s=0.1) < 0.9


async def test_a_stall_that_starts_later_is_noticed_by_earlier_waiters() -> None:
    """If a host uses up its share while another attempt for it waits, the stall time starts then."""
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


async def test_a_cancelled_waiter_takes_no_slot() -> None:
    """A slot is not given to a waiter that has left."""
    bulkhead, sent = Bulkhead(4), list[str]()
    held = await take(bulkhead, "a")
    waiting = asyncio.create_task(send(bulkhead, "a", sent))
    await line_up(waiting)
    waiting.cancel()
    await asyncio.wait([waiting])
    await held.aclose()
    assert await is_free(bulkhead, "a", "b", "c", "d")
    assert sent == []


async def test_a_waiter_cancelled_as_it_gets_a_slot_gives_it_back() -> None:
    """An attempt may be cancelled after it was given a slot and before it runs. The next waiter gets the slot."""
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
    """Attempts are cancelled, refused, failed and finished at random times.

    At no time are more than 8 slots in use, and in the end all are free.
    """
    rng, bulkhead, under_way = random.Random(seed), Bulkhead(8, stall_s=0.01), list[str]()

    async def attempt(host: str) -> None:
        async with bulkhead.slot(host, rng.uniform(0, 0.02)):
            under_way.append(host)
            assert len(under_way) <= 8
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
