"""Tasks that go on after their call has returned: which of them are kept, and where their exceptions go."""

import asyncio
import gc
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from shared.runtime.background import BackgroundTasks
from tests.support.fakes.streams import Gate


async def fail() -> None:
    """Raise an exception after one step of the loop."""
    await asyncio.sleep(0)
    raise ConnectionError


async def over(task: "asyncio.Task[None]") -> None:
    """Wait until a task has ended and its callbacks have run. Its result does not matter."""
    await asyncio.wait([task])
    await asyncio.sleep(0)


@contextmanager
def reports_of_the_loop() -> Iterator[list[dict[str, Any]]]:
    """Give the list of what the event loop reports to its exception handler inside the block."""
    loop, reports = asyncio.get_running_loop(), list[dict[str, Any]]()
    before = loop.get_exception_handler()
    loop.set_exception_handler(lambda _, context: reports.append(context))
    yield reports
    loop.set_exception_handler(before)


async def test_work_goes_on_after_the_call_has_returned() -> None:
    """`start` returns at once. The task is listed until it ends."""
    background, gate, done = BackgroundTasks(), Gate(), list[str]()

    async def work() -> None:
        await gate.wait()
        done.append("work")

    task = background.start(work())
    assert (background.tasks, done) == ((task,), [])
    gate.open()
    await task
    assert (background.tasks, done) == ((), ["work"])


async def test_a_task_without_other_references_is_kept() -> None:
    """The event loop refers to its tasks only weakly. Without this reference, one could vanish before its end."""
    background = BackgroundTasks()

    async def wait() -> None:
        await asyncio.get_running_loop().create_future()

    alive = weakref.ref(background.start(wait()))
    await asyncio.sleep(0)
    gc.collect()
    task = alive()
    assert task is not None
    task.cancel()


@pytest.mark.parametrize("end", ["success", "exception", "cancellation"])
async def test_no_reference_is_kept_after_the_end(end: str) -> None:
    """A task is forgotten however it ends. Other tasks stay."""
    background, gate = BackgroundTasks(), Gate()
    other = background.start(gate.wait())
    task = background.start(fail() if end == "exception" else asyncio.sleep(0), on_error=lambda _: None)
    if end == "cancellation":
        task.cancel()
    await over(task)
    assert background.tasks == (other,)
    gate.open()
    await other


async def test_an_exception_goes_to_the_handler_that_was_given() -> None:
    """`on_error` gets the exception once. The event loop does not report it a second time."""
    background, errors = BackgroundTasks(), list[BaseException]()
    with reports_of_the_loop() as reports:
        await over(background.start(fail(), errors.append))
        gc.collect()
    assert ([type(error) for error in errors], reports) == ([ConnectionError], [])


async def test_a_handler_may_start_the_next_task() -> None:
    """The failed task is no longer listed when `on_error` is called."""
    background, seen = BackgroundTasks(), list[int]()

    def again(_: BaseException) -> None:
        seen.append(len(background.tasks))
        background.start(asyncio.sleep(0))

    await over(background.start(fail(), again))
    assert (seen, len(background.tasks)) == ([0], 1)
    await background.tasks[0]


async def test_an_exception_without_a_handler_is_reported_by_the_loop() -> None:
    """Without `on_error`, the exception goes to the event loop's exception handler, so it is never silent."""
    background = BackgroundTasks()
    with reports_of_the_loop() as reports:
        await over(background.start(fail()))
        gc.collect()
    assert [type(context["exception"]) for context in reports] == [ConnectionError]


@pytest.mark.parametrize("end", ["success", "cancellation"])
async def test_an_end_without_an_exception_is_not_an_error(end: str) -> None:
    """A task that succeeds or is cancelled does not call `on_error`, and the event loop reports nothing."""
    background, errors = BackgroundTasks(), list[BaseException]()
    with reports_of_the_loop() as reports:
        task = background.start(asyncio.sleep(0), errors.append)
        if end == "cancellation":
            task.cancel()
        await over(task)
    assert (task.cancelled(), errors, reports) == (end == "cancellation", [], [])


async def test_the_list_of_tasks_is_a_snapshot() -> None:
    """Tasks may be cancelled while the list is iterated, which removes them from the next list."""
    background, gate = BackgroundTasks(), Gate()
    listed = [background.start(gate.wait()) for _ in range(3)]
    seen = background.tasks
    for task in seen:
        task.cancel()
        await over(task)
    assert (set(seen), background.tasks) == (set(listed), ())
