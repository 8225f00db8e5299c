"""Large values: their JSON and their compression are done in a thread, so that the event loop serves others meanwhile.

Compression leaves the interpreter to other threads. Reading, writing and looking through do not, so only two threads do
such work, and more of it waits. A small value is handled at once, because a thread costs more than it.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any, ParamSpec, TypeVar

from shared.core import blobs

LARGE = 262_144  # bytes of JSON
THREADS = 2  # most of the work holds the interpreter, for which the loop competes with every thread
_pools: list[Executor] = [ThreadPoolExecutor(THREADS, thread_name_prefix="large")]  # the last one is used

P = ParamSpec("P")
R = TypeVar("R")


@contextmanager
def done_by(threads: Executor) -> Iterator[None]:
    """Have large work done by these threads until the end of the block."""
    _pools.append(threads)
    try:
        yield
    finally:
        _pools.remove(threads)


async def run(size: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what `work` returns, and raise what it raises. It runs in a thread if `size` is over 256 KiB.

    `size` is the number of bytes of JSON that it reads or writes. What `work` gets must not change meanwhile.
    """
    if size <= LARGE:
        return work(*args, **kwargs)
    inner = partial(copy_context().run, work, *args, **kwargs)
    return await asyncio.get_running_loop().run_in_executor(_pools[-1], inner)


async def run_on(value: Any, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do as `run`, for work on a JSON value whose size is not known. It is estimated."""
    return await run(LARGE + 1 if blobs.is_larger(value, LARGE) else 0, work, *args, **kwargs)


async def run_packed(packed: bytes, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do as `run`, for work on the JSON that is packed in these bytes."""
    return await run(LARGE + 1 if blobs.expands_over(packed, LARGE) else 0, work, *args, **kwargs)


async def run_on_both(value: Any, packed: bytes, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do as `run`, for work on a JSON value and on the JSON that is packed in these bytes."""
    is_large = blobs.is_larger(value, LARGE) or blobs.expands_over(packed, LARGE)
    return await run(LARGE + 1 if is_large else 0, work, *args, **kwargs)


async def pack(value: Any) -> bytes:
    """Return the packed value. Raises as `blobs.pack` does."""
    return await run_on(value, blobs.pack, value)


async def unpack(packed: bytes) -> Any:
    """Return the value of packed bytes. Raises as `blobs.unpack` does."""
    return await run_packed(packed, blobs.unpack, packed)


async def expand(packed: bytes) -> bytes:
    """Return the text of packed bytes. Raises as `blobs.expand` does."""
    return await run_packed(packed, blobs.expand, packed)
