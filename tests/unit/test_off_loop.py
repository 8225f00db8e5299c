"""Large values leave the event loop: what is done in a thread, and what is not."""

import asyncio
import random
import threading
from typing import Any

import pytest

from shared import off_loop
from shared.core import blobs
from shared.core.blobs import Oversized
from shared.off_loop import LARGE

SMALL: dict[str, Any] = {"text": "x"}
LONG: dict[str, Any] = {"text": "x" * LARGE, "items": [1, 2.5, None, {"a": "ä"}]}


def thread() -> int:
    """Return the thread that runs this."""
    return threading.get_ident()


@pytest.mark.parametrize(("size", "is_apart"), [(0, False), (LARGE, False), (LARGE + 1, True)])
async def test_work_on_more_than_256_kib_is_done_in_a_thread(size: int, is_apart: bool) -> None:
    """Smaller work is done at once, because a thread costs more than it."""
    assert LARGE == 262_144
    assert (await off_loop.run(size, thread) != thread()) is is_apart


@pytest.mark.parametrize(("value", "is_apart"), [(SMALL, False), (LONG, True), ([0] * 40_000, True)])
async def test_the_size_of_a_value_is_estimated(value: Any, is_apart: bool) -> None:
    """A long text and many small values are both large."""
    assert (await off_loop.run_on(value, thread) != thread()) is is_apart


async def test_the_loop_serves_others_meanwhile() -> None:
    """Work in a thread ends although it waits for something that only the event loop does."""
    go_on = threading.Event()
    working = asyncio.create_task(off_loop.run(LARGE + 1, go_on.wait, 20))
    await asyncio.sleep(0)
    go_on.set()
    assert await working


async def test_only_two_threads_do_large_work() -> None:
    """The loop competes with each of them for the interpreter. More work waits, and other threads are not held up."""
    go_on = threading.Event()
    working = [asyncio.create_task(off_loop.run(LARGE + 1, go_on.wait, 20)) for _ in range(off_loop.THREADS)]
    waiting = asyncio.create_task(off_loop.run(LARGE + 1, thread))
    assert await asyncio.to_thread(thread) != thread()
    assert not waiting.done()
    go_on.set()
    assert all(await asyncio.gather(*working))
    assert await waiting != thread()


@pytest.mark.parametrize("letter", ["x", "xyz"])
async def test_what_repeats_itself_is_large_however_little_it_takes_packed(letter: str) -> None:
    """A kilobyte can be a megabyte. Its text decides, of which no more than the limit is expanded to know that."""
    for length, is_apart in ((LARGE // 2, False), (4 * LARGE, True)):
        packed = blobs.compress(letter.encode() * (length // len(letter)))
        assert len(packed) < LARGE // 20
        assert (await off_loop.run_packed(packed, thread) != thread()) is is_apart


@pytest.mark.parametrize("size", [0, LARGE + 1])
async def test_an_exception_reaches_the_caller(size: int) -> None:
    """What the work raises is raised, from a thread, too."""
    with pytest.raises(ZeroDivisionError):
        await off_loop.run(size, lambda: 1 // 0)


@pytest.mark.parametrize("value", [SMALL, LONG])
async def test_values_are_packed_and_unpacked_as_on_the_loop(value: dict[str, Any]) -> None:
    """The results are those of `blobs`, for small and for large values."""
    packed = await off_loop.pack(value)
    assert packed == blobs.pack(value)
    assert await off_loop.unpack(packed) == value
    assert await off_loop.expand(packed) == blobs.expand(packed)


async def test_errors_are_those_of_the_blobs() -> None:
    """Damaged bytes and oversized values raise the same errors."""
    for damaged in (b"damaged", b"damaged" * LARGE):
        with pytest.raises(ValueError, match="damaged"):
            await off_loop.unpack(damaged)
        with pytest.raises(ValueError, match="damaged"):
            await off_loop.expand(damaged)
    with pytest.raises(Oversized):
        await off_loop.pack(random.Random(7).randbytes(2_700_000).hex())
