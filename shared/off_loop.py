"""Large values: their JSON and their compression are done in a thread, so that the event loop serves others meanwhile.

Compression takes most of the time, and leaves the interpreter to other threads. A small value is handled at once,
because a thread costs more than it.
"""

import asyncio
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from shared.core import blobs

LARGE = 262_144  # bytes of JSON
_RATIO = 4  # a packed value is usually that much smaller than its JSON

P = ParamSpec("P")
R = TypeVar("R")


async def run(size: int, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Return what `work` returns, and raise what it raises. It runs in a thread if `size` is over 256 KiB.

    `size` is the number of bytes of JSON that it reads or writes. What `work` gets must not change meanwhile.
    """
    if size <= LARGE:
        return work(*args, **kwargs)
    return await asyncio.to_thread(work, *args, **kwargs)


async def run_on(value: Any, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do as `run`, for work on a JSON value whose size is not known. It is estimated."""
    return await run(LARGE + 1 if blobs.is_larger(value, LARGE) else 0, work, *args, **kwargs)


async def run_packed(packed: bytes, work: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Do as `run`, for work on the JSON that is packed in these bytes. Its size is estimated."""
    return await run(_RATIO * len(packed), work, *args, **kwargs)


async def pack(value: Any) -> bytes:
    """Return the packed value. Raises as `blobs.pack` does."""
    return await run_on(value, blobs.pack, value)


async def unpack(packed: bytes) -> Any:
    """Return the value of packed bytes. Raises as `blobs.unpack` does."""
    return await run(_RATIO * len(packed), blobs.unpack, packed)


async def expand(packed: bytes) -> bytes:
    """Return the text of packed bytes. Raises as `blobs.expand` does."""
    return await run(_RATIO * len(packed), blobs.expand, packed)
