"""The bulkhead: limits how many attempts are under way at once, in total and to one host.

An attempt that finds no free slot waits. Slots are given out in the order of arrival. A waiter whose host uses its
whole share is passed over.

A waiter gives up after `patience_s`, or at once if its host uses its whole share and has released no slot for 1 s. Such
a host drops packets. A host that is only slow under a burst releases slots all the time.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

STALL_S = 1.0
_HOSTS = 4  # at least this number of hosts share the slots


class NoCapacity(Exception):
    """No slot is free, and none will be soon."""


@dataclass
class _Share:
    """How many slots a host has taken, and the loop's time when it took the last one."""

    taken: int = 0
    last_s: float = 0.0


class Bulkhead:
    """A fixed number of slots. One host gets at most a quarter of them."""

    def __init__(self, slots: int, *, stall_s: float = STALL_S) -> None:
        self._free = slots
        self._share = slots // _HOSTS
        self._stall_s = stall_s
        self._shares: dict[str, _Share] = {}
        self._waiters: dict[asyncio.Future[None], str] = {}  # in the order of arrival

    @asynccontextmanager
    async def slot(self, host: str, patience_s: float) -> AsyncIterator[None]:
        """Hold a slot for a host. Raises NoCapacity if the host does not get one within `patience_s`."""
        loop = asyncio.get_running_loop()
        turn = loop.create_future()
        self._waiters[turn] = host
        self._hand_out()
        try:
            await self._wait(turn, host, loop.time() + patience_s)
            yield
        finally:
            self._release(turn, host)

    async def _wait(self, turn: asyncio.Future[None], host: str, until_s: float) -> None:
        loop = asyncio.get_running_loop()
        while not turn.done():
            left_s = min(until_s, self._stalls_at(host)) - loop.time()
            if left_s <= 0:
                raise NoCapacity
            await asyncio.wait([turn], timeout=left_s)

    def _stalls_at(self, host: str) -> float:
        """Return the earliest time at which the host may have released no slot for too long."""
        since_s = asyncio.get_running_loop().time() if self._has_share_left(host) else self._shares[host].last_s
        return since_s + self._stall_s

    def _has_share_left(self, host: str) -> bool:
        return host not in self._shares or self._shares[host].taken < self._share

    def _hand_out(self) -> None:
        """Give every free slot to the first waiter whose host may have it."""
        for turn, host in list(self._waiters.items()):
            if self._free and self._has_share_left(host):
                del self._waiters[turn]
                self._take(host)
                turn.set_result(None)

    def _take(self, host: str) -> None:
        self._free -= 1
        share = self._shares.setdefault(host, _Share())
        share.taken += 1
        share.last_s = asyncio.get_running_loop().time()

    def _release(self, turn: asyncio.Future[None], host: str) -> None:
        """Stop waiting, or give the slot back."""
        if self._waiters.pop(turn, None) is not None:
            return
        self._free += 1
        self._shares[host].taken -= 1
        if not self._shares[host].taken:
            del self._shares[host]
        self._hand_out()
