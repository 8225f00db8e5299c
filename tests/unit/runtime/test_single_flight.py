"""Work that a process does once at a time: who shares a call, how long its result is kept, and marks of work."""

import asyncio
import gc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.runtime.single_flight import KEPT_S, InProgress, SingleFlight
from tests.support.fakes.streams import Gate
from tests.support.fast_loop import BACKEND, skip
from tests.unit.runtime.test_background import reports_of_the_loop

KEY = "resp_1"


@pytest.fixture(scope="module")
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """Run the tests on a loop whose clock can be moved forward."""
    return BACKEND


class Work:
    """Calls that wait at a gate and return how many were begun, or raise an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.begun = 0
        self.ended = 0
        self.gate = Gate()
        self._error = error

    async def call(self) -> int:
        """Wait, then return the number of this call."""
        self.begun += 1
        number = self.begun
        await self.gate.wait()
        self.ended += 1
        if self._error:
            raise self._error
        return number


async def step() -> None:
    """Let every task run until it waits, and due callbacks run."""
    for _ in range(5):
        await asyncio.sleep(0)


def waiters(flights: SingleFlight[int], work: Work, count: int) -> list["asyncio.Task[int]"]:
    """Return tasks that wait for a call with the same key."""
    return [asyncio.create_task(flights.call(KEY, work.call)) for _ in range(count)]


async def test_waiters_for_a_key_share_one_call() -> None:
    """Ten waiters at once begin one call, and all get its result."""
    flights, work = SingleFlight[int](), Work()
    waiting = waiters(flights, work, 10)
    await work.gate.reached.wait()
    work.gate.open()
    assert await asyncio.gather(*waiting) == [1] * 10
    assert work.begun == 1


async def test_waiters_share_an_exception() -> None:
    """If the call fails, every waiter gets the same exception."""
    flights, work = SingleFlight[int](), Work(ConnectionError())
    work.gate.open()
    ends = await asyncio.gather(*waiters(flights, work, 3), return_exceptions=True)
    assert {type(end) for end in ends} == {ConnectionError}
    assert work.begun == 1


async def test_keys_have_separate_calls() -> None:
    """A call for one key does not wait for a call for another one."""
    flights, held, other = SingleFlight[int](), Work(), Work()
    (waiting,) = waiters(flights, held, 1)
    await held.gate.reached.wait()
    other.gate.open()
    async with asyncio.timeout(60):
        assert await flights.call("resp_2", other.call) == 1
    assert not waiting.done()
    held.gate.open()
    await waiting


@pytest.mark.parametrize("accepts_past", [False, True])
async def test_a_call_under_way_is_always_joined(accepts_past: bool) -> None:
    """A waiter never begins a second call while one is under way, whether it accepts a past result or not."""
    flights, work = SingleFlight[int](), Work()
    first = asyncio.create_task(flights.call(KEY, work.call))
    await work.gate.reached.wait()
    second = asyncio.create_task(flights.call(KEY, work.call, accepts_past=accepts_past))
    await step()
    work.gate.open()
    assert (await first, await second, work.begun) == (1, 1, 1)


@pytest.mark.parametrize(("accepts_past", "expected"), [(True, 1), (False, 2)])
async def test_a_past_result_is_used_only_if_it_is_accepted(accepts_past: bool, expected: int) -> None:
    """A call that has just ended is good enough for a caller that accepts a past result. Others begin a new call."""
    flights, work = SingleFlight[int](), Work()
    work.gate.open()
    await flights.call(KEY, work.call)
    assert await flights.call(KEY, work.call, accepts_past=accepts_past) == expected


async def test_a_result_is_kept_for_a_second_after_the_end() -> None:
    """The second begins with the end of the call, however long the call has lasted."""
    flights, work = SingleFlight[int](), Work()
    (waiting,) = waiters(flights, work, 1)
    await work.gate.reached.wait()
    skip(60)
    work.gate.open()
    await waiting
    skip(KEPT_S - 0.5)
    assert await flights.call(KEY, work.call, accepts_past=True) == 1
    skip(0.5)
    await step()
    assert await flights.call(KEY, work.call, accepts_past=True) == 2
    assert KEPT_S == 1.0


async def test_a_result_may_be_kept_for_longer() -> None:
    """Or for a shorter time, after which it is made again."""
    flight, short = SingleFlight[int](kept_s=60), SingleFlight[int](kept_s=0.01)
    results = iter(range(10))

    async def call() -> int:
        return next(results)

    assert (await flight.call("k", call, accepts_past=True), await short.call("k", call, accepts_past=True)) == (0, 1)
    until_s = asyncio.get_running_loop().time() + 10
    while len(short):
        assert asyncio.get_running_loop().time() < until_s
        await asyncio.sleep(0.02)
    await asyncio.sleep(1.1)  # longer than results are kept by default
    assert (await flight.call("k", call, accepts_past=True), await short.call("k", call, accepts_past=True)) == (0, 2)


async def test_memory_is_freed_after_the_second() -> None:
    """Calls under way and results of the last second are kept, and nothing else."""
    flights, work = SingleFlight[int](), Work()
    work.gate.open()
    for number in range(100):
        await flights.call(number, work.call)
    assert len(flights) == 100
    skip(KEPT_S)
    await step()
    assert len(flights) == 0


async def test_the_end_of_a_call_does_not_end_the_next_one() -> None:
    """A second after the first call, a second call for the key is still shared and not begun again."""
    flights, first, second = SingleFlight[int](), Work(), Work()
    first.gate.open()
    await flights.call(KEY, first.call)
    waiting = waiters(flights, second, 1)
    await second.gate.reached.wait()
    skip(KEPT_S)
    await step()
    waiting += waiters(flights, second, 1)
    await step()
    second.gate.open()
    assert (await asyncio.gather(*waiting), second.begun) == ([1, 1], 1)


async def test_a_cancelled_waiter_does_not_cancel_the_call() -> None:
    """The other waiter still gets the result."""
    flights, work = SingleFlight[int](), Work()
    leaving, staying = waiters(flights, work, 2)
    await work.gate.reached.wait()
    leaving.cancel()
    await asyncio.wait([leaving])
    work.gate.open()
    assert (await staying, leaving.cancelled(), work.begun) == (1, True, 1)


@pytest.mark.parametrize("error", [None, ConnectionError()])
async def test_a_call_ends_without_any_waiter(error: Exception | None) -> None:
    """If all waiters have left, the call goes on to its end, and its exception is not reported as lost."""
    flights, work = SingleFlight[int](), Work(error)
    with reports_of_the_loop() as reports:
        leaving = waiters(flights, work, 2)
        await work.gate.reached.wait()
        for waiter in leaving:
            waiter.cancel()
        await asyncio.wait(leaving)
        work.gate.open()
        await step()
        skip(KEPT_S)
        await step()
        gc.collect()
    assert (work.ended, len(flights), reports) == (1, 0, [])


# Marks of work


def test_a_key_is_marked_while_its_block_runs() -> None:
    """Only that key is marked, and only inside the block."""
    work = InProgress()
    with work.mark(("resp_1", "callback")):
        assert ("resp_1", "callback") in work
        assert ("resp_1", "reply_queue") not in work
    assert ("resp_1", "callback") not in work


def test_a_mark_is_removed_if_its_block_raises() -> None:
    """Work that failed is no longer under way, and its exception passes through."""
    work = InProgress()
    with pytest.raises(ConnectionError), work.mark(KEY):
        raise ConnectionError
    assert KEY not in work


@given(st.lists(st.sampled_from("abc"), unique=True))
def test_marks_of_different_keys_are_independent(keys: list[str]) -> None:
    """While some keys are marked, exactly those are in progress."""
    work = InProgress()
    marks = [work.mark(key) for key in keys]
    for mark in marks:
        mark.__enter__()
    assert {key for key in "abc" if key in work} == set(keys)
    for number, mark in enumerate(marks, start=1):
        mark.__exit__(None, None, None)
        assert {key for key in "abc" if key in work} == set(keys[number:])
