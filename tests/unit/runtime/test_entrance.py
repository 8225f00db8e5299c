"""The entrance: callers take turns, a crowd gives way to others, and no place is ever lost."""

import asyncio
import random

import pytest

from shared.runtime.quotas import Entrance


async def enter(entrance: Entrance, caller: str, entered: list[str], leaves: asyncio.Event) -> None:
    """Take a turn, and hold the place until `leaves`."""
    async with entrance.turn(caller):
        entered.append(caller)
        await leaves.wait()


async def turned(times: int = 5) -> None:
    """Let the tasks that can go on do so."""
    for _ in range(times):
        await asyncio.sleep(0)


async def test_callers_take_turns_at_the_entrance() -> None:
    """A flood of one leaves a place to another. Those that wait alternate."""
    entrance, entered, leaves = Entrance(3), list[str](), asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for caller in ("ann",) * 20 + ("bob",) * 2 + ("eve",):
            group.create_task(enter(entrance, caller, entered, leaves))
        await turned()
        assert entered == ["ann", "ann", "bob"]
        leaves.set()
    assert set(entered[3:6]) == {"ann", "bob", "eve"}
    assert len(entered) == 23


async def test_one_alone_uses_all_places_but_one() -> None:
    """Nobody has to be considered. Each place that is left is taken at once."""
    entrance, entered, leaves = Entrance(3), list[str](), asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for _ in range(5):
            group.create_task(enter(entrance, "ann", entered, leaves))
        await turned()
        assert len(entered) == 2
        leaves.set()
        await turned(10)
        assert len(entered) == 5


async def test_a_crowd_gives_way_to_a_create_of_another_caller() -> None:
    """At most one of it is let in before that create is answered, although places are free."""
    entrance, entered, leaves = Entrance(3, give_way_s=600), list[str](), asyncio.Event()
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(6):
            group.create_task(enter(entrance, "ann", entered, leaves))
        await turned()
        async with entrance.turn("bob"):
            entrance.leave()
            leaves.set()
            await turned(20)
            assert entered == ["ann"] * 3
    assert len(entered) == 6


async def test_a_crowd_gives_way_for_a_short_time_only() -> None:
    """A create that takes long, as one of a slow upstream does, stops nobody."""
    entrance, entered, leaves = Entrance(2), list[str](), asyncio.Event()
    leaves.set()
    async with asyncio.timeout(10), entrance.turn("ann"):
        group = [asyncio.create_task(enter(entrance, "ann", entered, leaves)) for _ in range(3)]
        await turned()
        async with entrance.turn("bob"):
            Entrance.leave()
            await asyncio.gather(*group)
    assert entered == ["ann"] * 3


async def accept_crowd(group: asyncio.TaskGroup, entrance: Entrance, answers: asyncio.Semaphore) -> asyncio.Queue[int]:
    """Let twenty creates of one caller come beside another caller. Return the queue of those that are accepted."""
    accepted = asyncio.Queue[int]()

    async def create(number: int) -> None:
        async with entrance.turn("ann"):
            await asyncio.sleep(0)
            accepted.put_nowait(number)
            entrance.leave()
            await answers.acquire()

    async with entrance.turn("bob"):
        pass
    for number in range(20):
        group.create_task(create(number))
    await turned()
    return accepted


async def test_a_crowd_beside_others_is_let_in_one_by_one() -> None:
    """The next one comes when the one before is answered. Those that did not wait are not of the crowd."""
    entrance, answers = Entrance(8, around_s=600, lingers_s=600, rests=0), asyncio.Semaphore(0)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        accepted = await accept_crowd(group, entrance, answers)
        for expected in [8] * 7 + [*range(8, 20)]:
            assert accepted.qsize() == expected
            answers.release()
            await turned(10)
        answers.release()
    assert [accepted.get_nowait() for _ in range(20)] == list(range(20))


async def test_the_place_of_a_crowd_rests_as_long_as_it_was_needed() -> None:
    """So a flood leaves a share of the process for others, whatever the machine. Who did not wait is let in at once."""
    entrance, loop = Entrance(2, around_s=600, lingers_s=600, rests=1), asyncio.get_running_loop()
    entered_s = list[float]()

    async def create() -> None:
        async with entrance.turn("ann"):
            entered_s.append(loop.time())
            await asyncio.sleep(0.05)

    async with entrance.turn("bob"):
        pass
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        for _ in range(4):
            group.create_task(create())
    first, second, third, fourth = (one - entered_s[0] for one in entered_s)
    assert (first, second >= 0.05) == (0, True)
    assert third - second >= 0.1
    assert fourth - third >= 0.1


async def test_a_crowd_does_not_wait_for_a_slow_upstream() -> None:
    """A moment after a response has been accepted the next one is let in, whether it has been started or not."""
    entrance, answers = Entrance(8, around_s=600), asyncio.Semaphore(0)
    async with asyncio.timeout(10), asyncio.TaskGroup() as group:
        accepted = await accept_crowd(group, entrance, answers)
        assert [await accepted.get() for _ in range(20)] == list(range(20))
        for _ in range(20):
            answers.release()


async def test_a_place_may_be_left_before_the_block_ends() -> None:
    """The response is accepted, and its call goes on. Whoever leaves twice leaves once."""
    entrance, entered, leaves = Entrance(1), list[str](), asyncio.Event()
    leaves.set()
    async with entrance.turn("ann"):
        waiting = asyncio.create_task(enter(entrance, "bob", entered, leaves))
        await turned()
        assert entered == []
        entrance.leave()
        entrance.leave()
        await turned()  # and not for the two seconds after which every place ends
        assert entered == ["bob"]
        await waiting
    async with asyncio.timeout(1), entrance.turn("ann"):
        entrance.leave()
    Entrance.leave()  # outside there is none


async def test_a_place_is_held_for_two_seconds_at_most() -> None:
    """A request that waits for another one, or for a name server, holds up nobody for longer."""
    entrance = Entrance(1)
    began_s = asyncio.get_running_loop().time()
    async with entrance.turn("ann"), asyncio.timeout(10), entrance.turn("bob"):
        assert 1.9 < asyncio.get_running_loop().time() - began_s < 9


async def test_a_task_of_a_call_leaves_the_place_of_the_call() -> None:
    """A call may be started by a task of its own."""
    entrance, entered, leaves = Entrance(1), list[str](), asyncio.Event()
    leaves.set()

    async def accept() -> None:
        entrance.leave()

    async with entrance.turn("ann"):
        waiting = asyncio.create_task(enter(entrance, "bob", entered, leaves))
        await asyncio.create_task(accept())
        await turned()
        assert entered == ["bob"]
        await waiting


@pytest.mark.parametrize("seed", range(5))
async def test_no_place_is_ever_lost(seed: int) -> None:
    """Calls are cancelled while they wait, as they get their place, and while they hold it."""
    rng, entrance, inside = random.Random(seed), Entrance(3), list[int]()

    async def call(number: int) -> None:
        async with entrance.turn(rng.choice("abc")):
            inside.append(number)
            assert len(inside) <= 3
            try:
                await asyncio.sleep(rng.choice((0, 0.001)))
            finally:
                inside.remove(number)
                if rng.random() < 0.5:
                    entrance.leave()

    tasks = []
    for number in range(200):
        tasks.append(asyncio.create_task(call(number)))
        if rng.random() < 0.4:
            await asyncio.sleep(0)
        if rng.random() < 0.4:
            rng.choice(tasks).cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    async with asyncio.timeout(5), entrance.turn("x"), entrance.turn("y"), entrance.turn("z"):
        pass
