"""The condition variable: a task is woken when what it waits for is true, and only then."""

import asyncio
from functools import partial

from shared.runtime.condition import Condition


async def turns(number: int) -> None:
    """Let every ready task run, so many times."""
    for _ in range(number):
        await asyncio.sleep(0)


async def test_what_is_true_is_not_waited_for() -> None:
    """The caller goes on without a turn of the event loop."""
    waiting = Condition().until(lambda: True)
    try:
        waiting.send(None)
    except StopIteration:
        return
    raise AssertionError("it has waited")


async def test_a_task_is_asked_at_every_change_and_woken_once() -> None:
    """A change that does not make the condition true costs one question, and no turn of the task."""
    condition, value, asked = Condition(), 0, 0

    def is_three() -> bool:
        nonlocal asked
        asked += 1
        return value == 3

    waiting = asyncio.create_task(condition.until(is_three))
    await turns(2)
    for value in (1, 2):  # noqa: B007 - `is_three` reads it
        condition.notify()
        await turns(2)
    assert (waiting.done(), asked) == (False, 3)
    value = 3
    condition.notify()
    await waiting
    assert asked == 5


async def test_what_is_no_longer_true_is_waited_for_again() -> None:
    """Another task may act between the change and the turn of the task that waits."""
    condition, value = Condition(), True
    waiting = asyncio.create_task(condition.until(lambda: not value))
    await turns(1)
    value = False
    condition.notify()
    value = True
    await turns(2)
    assert not waiting.done()
    value = False
    condition.notify()
    await waiting


async def test_each_task_waits_for_its_own_condition() -> None:
    """A change wakes those for whom it is the right one."""
    condition, values = Condition(), set[int]()
    waiting = [asyncio.create_task(condition.until(partial(values.__contains__, number))) for number in range(3)]
    await turns(1)
    values.add(1)
    condition.notify()
    await turns(2)
    assert [one.done() for one in waiting] == [False, True, False]
    values |= {0, 2}
    condition.notify()
    await asyncio.gather(*waiting)


async def test_a_cancelled_task_waits_no_longer() -> None:
    """It is not asked again, also if it is cancelled after the change has woken it."""
    condition, asked = Condition(), list[int]()

    def holds() -> bool:
        asked.append(1)
        return len(asked) > 1

    waiting = asyncio.create_task(condition.until(holds))
    await turns(1)
    condition.notify()
    waiting.cancel()
    await asyncio.wait([waiting])
    assert waiting.cancelled()
    condition.notify()
    assert len(asked) == 2
