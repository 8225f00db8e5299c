"""Work that this process does at most once at a time."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Hashable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

T = TypeVar("T")
KEPT_S = 1.0


class SingleFlight(Generic[T]):
    """Shares one call among all waiters for the same key, and keeps its result for `kept_s` afterwards."""

    def __init__(self, kept_s: float = KEPT_S) -> None:
        self._kept_s = kept_s
        self._calls: dict[Hashable, asyncio.Task[T]] = {}

    def __len__(self) -> int:
        """Return how many calls are kept."""
        return len(self._calls)

    async def call(
        self, key: Hashable, start: Callable[[], Coroutine[Any, Any, T]], *, accepts_past: bool = False
    ) -> T:
        """Return the result of the call under way for `key`, or begin one with `start` and return its result.

        With `accepts_past`, the result of a call that is kept is good enough. If a waiter is
        cancelled, the call goes on, because others may wait for it.
        """
        call = self._calls.get(key)
        if call is None or (call.done() and not accepts_past):
            call = self._calls[key] = asyncio.ensure_future(start())
            call.add_done_callback(lambda done: self._forget_later(key, done))
        return await asyncio.shield(call)

    def _forget_later(self, key: Hashable, call: "asyncio.Task[T]") -> None:
        def forget() -> None:
            if self._calls.get(key) is call:
                del self._calls[key]

        if not call.cancelled():
            call.exception()  # retrieved here, because all waiters may have left
        asyncio.get_running_loop().call_later(self._kept_s, forget)


class InProgress:
    """The keys of the work that this process has under way."""

    def __init__(self) -> None:
        self._keys: set[Hashable] = set()

    def __contains__(self, key: Hashable) -> bool:
        return key in self._keys

    @contextmanager
    def mark(self, key: Hashable) -> Iterator[None]:
        """Mark the work as under way for as long as the block runs."""
        self._keys.add(key)
        try:
            yield
        finally:
            self._keys.discard(key)


@dataclass
class Turn(Generic[T]):
    """The turn of one holder of a key. `left` is what the holder before has left, and what this one leaves."""

    left: T | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    holders: int = 0


class Turns(Generic[T]):
    """Lets the holders of one key act one after the other."""

    def __init__(self) -> None:
        self._turns: dict[Hashable, Turn[T]] = {}

    @asynccontextmanager
    async def turn(self, key: Hashable) -> AsyncIterator[Turn[T]]:
        """Wait for the other holders of the key that came before, and hold it. The last one forgets what was left."""
        turn = self._turns.setdefault(key, Turn())
        turn.holders += 1
        try:
            async with turn.lock:
                yield turn
        finally:
            turn.holders -= 1
            if not turn.holders:
                del self._turns[key]
