"""The bulkhead: how many slots a host may use, how hosts and callers share them, and when a line is long."""

import asyncio
from contextlib import AsyncExitStack, suppress

import pytest

from shared.senders.bulkhead import Bulkhead, NoCapacity
from tests.unit.senders.slots import LONG_S, answer, is_free, line_up, refused_after_s, send, take


async def test_a_host_that_has_not_answered_has_at_most_a_quarter_of_the_slots() -> None:
    """Of eight slots such a host gets two. Four of them together get all slots, and a fifth gets none."""
    bulkhead = Bulkhead(8)
    async with await take(bulkhead, "a", "a"):
        assert not await is_free(bulkhead, "a")
        async with await take(bulkhead, "b", "b", "c", "c", "d", "d"):
            assert not await is_free(bulkhead, "e")
        assert await is_free(bulkhead, "e")
    assert await is_free(bulkhead, "a", "a")


async def test_a_host_that_answers_may_use_every_slot_that_no_other_wants() -> None:
    """After one answer, a host gets all eight slots at once."""
    bulkhead = Bulkhead(8)
    async with await take(bulkhead, "a"):
        await answer(bulkhead, "a")
        async with await take(bulkhead, *"aaaaaaa"):
            assert not await is_free(bulkhead, "b")
        assert await is_free(bulkhead, *"aaaaaaa")


async def test_a_host_whose_last_attempt_had_no_answer_has_a_quarter_again() -> None:
    """It may keep the slots that it has. It gets no more than a quarter until it answers again."""
    bulkhead = Bulkhead(8)
    async with await take(bulkhead, "a"):
        await answer(bulkhead, "a")
        async with bulkhead.slot("a", 0) as held:
            held.has_answered = False
        async with await take(bulkhead, "a"):
            assert not await is_free(bulkhead, "a")
        await answer(bulkhead, "a")
        assert await is_free(bulkhead, *"aaaaaaa")


async def test_an_answer_does_not_help_for_long() -> None:
    """A host that stops answering gets no more slots once its last answer is older than the stall time."""
    bulkhead = Bulkhead(8, stall_s=0.05)
    async with await take(bulkhead, "a"):
        await answer(bulkhead, "a")
        async with await take(bulkhead, "a", "a", "a"):
            await asyncio.sleep(0.1)
            assert not await is_free(bulkhead, "a")
            assert await is_free(bulkhead, *"bbcc")


async def test_a_free_slot_goes_to_the_waiting_host_that_has_the_fewest() -> None:
    """A host that has seven of eight slots and four waiters gets the next one after the other hosts have theirs."""
    bulkhead, sent = Bulkhead(8), list[str]()
    async with asyncio.TaskGroup() as group, await take(bulkhead, "a"):
        await answer(bulkhead, "a")
        held = await take(bulkhead, *"aaaaaaa")
        await line_up(*(group.create_task(send(bulkhead, host, sent)) for host in "aaaabbc"))
        await held.aclose()
    assert sent[:3] in (["b", "c", "b"], ["b", "c", "a"])


async def test_the_callers_of_a_host_take_turns() -> None:
    """A caller with three waiters does not hold up a caller with one."""
    bulkhead, sent = Bulkhead(4), list[str]()

    async def send_for(caller: str) -> None:
        async with bulkhead.slot("a", LONG_S, caller=caller):
            sent.append(caller)

    held = await take(bulkhead, "a")
    async with asyncio.TaskGroup() as group:
        await line_up(*(group.create_task(send_for(caller)) for caller in ("ann", "ann", "ann", "bob")))
        await held.aclose()
    assert sent == ["ann", "bob", "ann", "ann"]


async def test_the_hosts_of_a_caller_that_do_not_answer_have_at_most_half_of_the_slots() -> None:
    """A caller with many dead hosts leaves the other half to other callers, and to its own hosts that answer."""
    bulkhead, held = Bulkhead(8), AsyncExitStack()
    async with held:
        for host in "abcd":
            await held.enter_async_context(bulkhead.slot(host, 0, caller="ann"))
        assert not bulkhead.is_free("e", "ann")
        with pytest.raises(NoCapacity):
            await held.enter_async_context(bulkhead.slot("e", 0, caller="ann"))
        for host in "efgh":
            await held.enter_async_context(bulkhead.slot(host, 0, caller="bob"))
    async with held:
        await held.enter_async_context(bulkhead.slot("z", 0, caller="ann"))
        await answer(bulkhead, "z")
        for host in "abczzzz":
            await held.enter_async_context(bulkhead.slot(host, 0, caller="ann"))


async def test_a_free_slot_goes_to_the_caller_that_has_the_fewest() -> None:
    """Ann waits at many hosts, and bob at one. He does not wait for all of hers."""
    bulkhead, sent = Bulkhead(4), list[str]()

    async def send_for(caller: str, host: str) -> None:
        async with bulkhead.slot(host, LONG_S, caller=caller):
            sent.append(caller)
            await asyncio.sleep(0.001)

    held = await take(bulkhead, "v", "w", "x", "y")
    async with asyncio.TaskGroup() as group:
        hosts = [("ann", f"{number}") for number in range(20)]
        await line_up(*(group.create_task(send_for(*one)) for one in (*hosts, ("bob", "b"))))
        await held.aclose()
    assert "bob" in sent[:2]
    assert len(sent) == 21


async def test_a_caller_with_a_hundred_dead_hosts_delays_no_other() -> None:
    """Each of them keeps its slot until its attempt times out. Bob's callbacks begin as if there were none."""
    bulkhead, waits_s = Bulkhead(24), list[float]()
    loop = asyncio.get_running_loop()

    async def try_dead(host: str) -> None:
        while True:
            with suppress(NoCapacity):
                async with bulkhead.slot(host, 1.0, caller="ann") as held:
                    held.has_answered = False
                    await asyncio.sleep(0.3)

    async def send_for_bob() -> None:
        began_s = loop.time()
        async with bulkhead.slot("b", LONG_S, caller="bob"):
            waits_s.append(loop.time() - began_s)
            await asyncio.sleep(0.002)

    dead = [asyncio.create_task(try_dead(f"{number}")) for number in range(100)]
    for _ in range(200):
        await send_for_bob()
    for task in dead:
        task.cancel()
    await asyncio.wait(dead)
    assert sorted(waits_s)[190] < 0.002, waits_s


# The outlook


async def test_the_line_of_another_caller_does_not_make_mine_long() -> None:
    """Ann waits at a hundred hosts. Bob gets the next slot."""
    bulkhead = Bulkhead(4)
    await answer(bulkhead, "z", for_s=0.1)
    held = await take(bulkhead, "v", "w", "x", "y")

    async def wait_for_ann(host: str) -> None:
        async with bulkhead.slot(host, LONG_S, caller="ann"):
            return

    waiting = [asyncio.create_task(wait_for_ann(f"{number}")) for number in range(200)]
    await line_up(*waiting)
    assert bulkhead.is_long("other", "ann")
    assert not bulkhead.is_long("other", "bob")
    await held.aclose()
    await asyncio.wait(waiting)


async def test_the_line_of_a_caller_whose_hosts_do_not_answer_is_long() -> None:
    """Its next delivery is put off, and that of another caller is not."""
    bulkhead, sent = Bulkhead(4), list[str]()
    await answer(bulkhead, "z", for_s=0.1)

    async def send_for_ann(host: str) -> None:
        async with bulkhead.slot(host, LONG_S, caller="ann"):
            sent.append(host)

    held = AsyncExitStack()
    for host in "xy":
        await held.enter_async_context(bulkhead.slot(host, 0, caller="ann"))
    assert not bulkhead.is_long("other", "ann")
    waiting = [asyncio.create_task(send_for_ann(f"{number}")) for number in range(100)]
    await line_up(*waiting)
    assert bulkhead.is_long("other", "ann")
    assert not bulkhead.is_long("other", "bob")
    await held.aclose()
    await asyncio.wait(waiting)
    assert len(sent) == 100


async def test_a_line_is_long_if_its_next_attempt_would_not_begin_within_4_s() -> None:
    """The estimate is the number of waiters, times the time that an answer takes, divided by the slots of the host."""
    bulkhead, sent = Bulkhead(8), list[str]()
    assert not bulkhead.is_long("a")
    async with asyncio.TaskGroup() as group, await take(bulkhead, "a"):
        await answer(bulkhead, "a", for_s=0.1)
        held = await take(bulkhead, *"aaaaaaa")
        waiting = [group.create_task(send(bulkhead, "a", sent)) for _ in range(100)]
        await line_up(*waiting)
        assert not bulkhead.is_long("a")
        waiting += [group.create_task(send(bulkhead, "a", sent)) for _ in range(400)]
        await line_up(*waiting)
        assert bulkhead.is_long("a")
        await held.aclose()
    assert len(sent) == 500


async def test_the_line_of_a_host_that_is_stalled_is_long() -> None:
    """An attempt for it would be refused, while one for another host begins at once."""
    bulkhead = Bulkhead(4, stall_s=0.05)
    async with await take(bulkhead, "hole"):
        assert not bulkhead.is_long("hole")
        assert await refused_after_s(bulkhead, "hole") < 5
        assert bulkhead.is_long("hole")
        assert not bulkhead.is_long("other")
    assert not bulkhead.is_long("hole")


async def test_a_line_is_long_if_other_hosts_hold_every_slot_for_long() -> None:
    """A host without any slot waits for its turn among the hosts that wait."""
    bulkhead, sent = Bulkhead(4), list[str]()
    await answer(bulkhead, "z", for_s=0.1)
    async with asyncio.TaskGroup() as group:
        held = await take(bulkhead, *"abcd")
        assert not bulkhead.is_long("other")
        waiting = [group.create_task(send(bulkhead, f"{number}", sent)) for number in range(200)]
        await line_up(*waiting)
        assert bulkhead.is_long("other")
        await held.aclose()
