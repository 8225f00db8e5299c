"""The threads that an event loop gives work to, counted."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any


class CountingThreads(ThreadPoolExecutor):
    """Threads of an event loop. `count` is how much work they were given."""

    def __init__(self) -> None:
        super().__init__(max_workers=2)
        self.count = 0

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Count the work, and do it."""
        self.count += 1
        return super().submit(fn, *args, **kwargs)


@contextmanager
def counted_threads() -> Iterator[CountingThreads]:
    """Give the running event loop such threads. They are those of the loop until it ends."""
    with CountingThreads() as threads:
        asyncio.get_running_loop().set_default_executor(threads)
        yield threads
