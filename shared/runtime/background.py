"""Tasks that go on after the call that started them has returned."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class BackgroundTasks:
    """Keeps references to tasks until they end, because the event loop alone would let them be garbage-collected.

    Nothing waits for these tasks when a process ends, so what they do must survive being cut off.
    """

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(
        self, work: Coroutine[Any, Any, T], on_error: Callable[[BaseException], None] | None = None
    ) -> asyncio.Task[T]:
        """Start and return a task. An exception in it goes to `on_error`, or to the loop's exception handler."""

        def over(task: asyncio.Task[T]) -> None:
            self._tasks.discard(task)
            if on_error and not task.cancelled() and (error := task.exception()):
                on_error(error)

        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(over)
        return task

    @property
    def tasks(self) -> tuple[asyncio.Task[Any], ...]:
        """The tasks that have not ended."""
        return tuple(self._tasks)
