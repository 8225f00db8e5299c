"""The threads that do large work, counted."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

from shared import off_loop


class CountingThreads(ThreadPoolExecutor):
    """Threads for large work. `count` is how much work they were given."""

    def __init__(self) -> None:
        super().__init__(max_workers=2)
        self.count = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Count the work, and do it."""
        self.count += 1
        return super().submit(fn, *args, **kwargs)


@contextmanager
def counted_threads() -> Iterator[CountingThreads]:
    """Have large work done by such threads until the end of the block."""
    with CountingThreads() as threads, off_loop.done_by(threads):
        yield threads
