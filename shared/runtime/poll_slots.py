"""Slots for the polls of sweeps and watches, as many as leave the event loop quick enough for callers.

A process that has more to poll than it can would else begin everything that is due at once. Each turn of its loop then
serves hundreds of polls, and a caller's request, which needs a dozen turns, waits for all of them. The number of slots
goes by how long a turn takes. It does not limit polls that only wait for a slow upstream.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

SLOW_S = 0.004  # a turn of the loop
LEAST = 4
MOST = 1_024
_SHRINKS = 0.9
_GROWS = 1.0


class PollSlots:
    """The slots of one process."""

    def __init__(self) -> None:
        self._most = 64.0
        self._taken = 0
        self._line = deque[asyncio.Future[None]]()

    @property
    def most(self) -> int:
        """How many polls may be under way now."""
        return int(self._most)

    def note_turn(self, turn_s: float) -> None:
        """Take how long a turn of the loop has lasted, in seconds: fewer slots if that was long, or else one more."""
        self._most = max(LEAST, self._most * _SHRINKS) if turn_s > SLOW_S else min(MOST, self._most + _GROWS)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[None]:
        """Hold a slot for the block. Whoever waits for one is served in order."""
        if self._taken >= self.most or self._line:
            await self._wait()
        else:
            self._taken += 1
        try:
            await self._measure()
            yield
        finally:
            self._taken -= 1
            self._serve()

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        await asyncio.sleep(0)
        self.note_turn(loop.time() - began_s)

    async def _wait(self) -> None:
        turn = asyncio.get_running_loop().create_future()
        self._line.append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():  # it has been given a slot just now
                self._taken -= 1
                self._serve()
            else:
                self._line.remove(turn)
            raise

    def _serve(self) -> None:
        while self._line and self._taken < self.most:
            turn = self._line.popleft()
            if not turn.done():
                self._taken += 1
                turn.set_result(None)
