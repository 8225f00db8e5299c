"""Who may send now: slots in a lane, a quarter of them at most for one host.

Whoever finds no slot stands in line. Slots go out in the order of coming, past those whose host has its share. A
place in the line is given up when patience ends, and at once where it leads nowhere: the host has its share, and has
freed none of it for a second, as one that swallows packets does. One that is merely slow under a burst frees slots all
the time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

STALL_S = 1.0
_HOSTS = 4  # so many hosts at least share a lane


class Busy(Exception):
    """There is no slot to be had now."""


@dataclass
class _Share:
    """How many slots a host has taken, and when the last of them."""

    taken: int = 0
    last_s: float = 0.0


class Lane:
    """Slots that wait for no other lane's."""

    def __init__(self, slots: int, *, stall_s: float = STALL_S) -> None:
        self._free = slots
        self._share = slots // _HOSTS
        self._stall_s = stall_s
        self._shares: dict[str, _Share] = {}
        self._line: dict[asyncio.Future[None], str] = {}  # in the order of coming

    @asynccontextmanager
    async def slot(self, host: str, patience_s: float) -> AsyncIterator[None]:
        """Hold a slot for a host; raise Busy if none is to be had."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._line[turn] = host
        self._serve()
        try:
            await self._wait(turn, host, loop.time() + patience_s)
            yield
        finally:
            self._leave(turn, host)

    async def _wait(self, turn: asyncio.Future[None], host: str, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        while not turn.done():
            left_s = min(until_s, self._stalls_at(host)) - loop.time()
            if left_s <= 0:
                raise Busy
            await asyncio.wait([turn], timeout=left_s)

    def _stalls_at(self, host: str) -> float:
        """Return the earliest time at which the host can have freed nothing for too long, as things stand."""
        since_s = asyncio.get_running_loop().time() if self._has_share_left(host) else self._shares[host].last_s
        return since_s + self._stall_s

    def _has_share_left(self, host: str) -> bool:
        return host not in self._shares or self._shares[host].taken < self._share

    def _serve(self) -> None:
        """Give every slot that is free to the first in line whose host may have it."""
        for turn, host in list(self._line.items()):
            if self._free and self._has_share_left(host):
                del self._line[turn]
                self._take(host)
                turn.set_result(None)

    def _take(self, host: str) -> None:
        self._free -= 1
        share = self._shares.setdefault(host, _Share())
        share.taken += 1
        share.last_s = asyncio.get_running_loop().time()

    def _leave(self, turn: asyncio.Future[None], host: str) -> None:
        """Leave the line, or give the slot back."""
        if self._line.pop(turn, None) is not None:
            return
        self._free += 1
        self._shares[host].taken -= 1
        if not self._shares[host].taken:
            del self._shares[host]
        self._serve()
