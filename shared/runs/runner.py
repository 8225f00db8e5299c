"""Driving a run: whoever holds it reads the upstream, stores the log, renews the lease and watches the record.

These go on side by side, and the run is over for this holder as soon as one of them is.
"""

import asyncio
from contextlib import suppress
from typing import Any

from shared.core import blobs
from shared.core.alarms import Alarm
from shared.core.blobs import Oversized
from shared.core.errors import StoreError, UpstreamOversized, UpstreamRefused
from shared.core.records import Record
from shared.lifecycle import completion
from shared.runs import claims
from shared.runs.consumer import Listener
from shared.runs.lease import Lease, Lost
from shared.runs.live_feed import Feed
from shared.runs.log_writer import Log
from shared.runtime.ports import World
from shared.telemetry import lifecycle, tracing
from shared.telemetry.logs import logger

_log = logger(__name__)

LEAVE_WITHIN_S = 10.0
CONCLUDE_WITHIN_S = 30.0


async def run(world: World, response_id: str, epoch: int) -> None:
    """Hold the run that was offered for that epoch until it is over or handed over; nothing if it is not to be had."""
    claimed = await claims.claim(world, response_id, epoch)
    if claimed:
        record, alarm = claimed
        request = blobs.unpack(await world.store.request(response_id) or b"")
        with tracing.under(record.trace):
            await Run(world, record, alarm, request).drive()


class Run:
    """A run that this process holds, for a live reader or for none."""

    def __init__(
        self, world: World, record: Record, alarm: Alarm, request: dict[str, Any], feed: Feed | None = None
    ) -> None:
        self._world = world
        self._feed = feed
        self._lease = Lease(world, record, alarm)
        self._log = Log(world, self._lease, feed)
        self._listener = Listener(world, self._lease, self._log, request, self)
        self._may_vanish = feed is not None
        self._vanishes = False
        self.refusal: UpstreamRefused | None = None
        self.decided = asyncio.Event()

    async def promise(self) -> None:
        """Keep the response from now on, for its caller knows it; raise UpstreamRefused if it is gone already."""
        self._may_vanish = False
        if self._vanishes:
            await self.decided.wait()
        if self.refusal:
            raise self.refusal

    def begun(self) -> None:
        """Let the caller know the response: the upstream has taken it up, or could not be asked."""
        self._may_vanish = False
        self.decided.set()

    async def refused(self, refusal: UpstreamRefused) -> bool:
        """Remove the response if nobody knows it; say whether it is gone."""
        if not self._may_vanish:
            return False
        self._vanishes = True
        try:
            await self._world.store.remove_all(self._lease.record, self._lease.alarm.key)
        except StoreError:
            self._vanishes = False
            self.begun()
            return False
        record = self._lease.record
        lifecycle.withdrawn(record, self._world.upstreams.of(record.model).operation, self._world.now_ms())
        self.refusal = refusal
        return True

    async def drive(self) -> None:
        """Hold the run until it is over, lost, or handed over."""
        leaving, listening = asyncio.create_task(self._leaving()), asyncio.create_task(self._listener.listen())
        others = [asyncio.create_task(part) for part in (self._store(), self._lease.renew(), self._lease.watch())]
        parts = [leaving, listening, *others]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            if self._feed:
                self._feed.close()
            await self._let_conclude(listening)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            self.decided.set()
            if self._feed:
                self._feed.close()
        if done == {leaving}:
            await self._hand_over()
        for part in done:
            with suppress(Lost):
                part.result()

    async def _let_conclude(self, listening: asyncio.Task[None]) -> None:
        """Let what nobody else would write be written: an end that has come, or the token of what was begun."""
        concluded = asyncio.create_task(self._concluded(listening))
        await asyncio.wait([listening, concluded], timeout=CONCLUDE_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        concluded.cancel()

    async def _concluded(self, listening: asyncio.Task[None]) -> None:
        if self._vanishes:
            await asyncio.wait([listening])
        await self._lease.concluded.wait()
        await self._listener.settled.wait()

    async def _store(self) -> None:
        try:
            await self._log.write()
        except Oversized:
            await self._lease.end(_too_large(self._world))

    async def _leaving(self) -> None:
        """Return when there is a reason to leave; the stream of an upstream that does not replay is never left."""
        if not self._world.upstreams.of(self._lease.record.model).replays:
            await asyncio.Event().wait()
        left = self._feed.left if self._feed else asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._world.pace.hold_s):
                await left.wait()

    async def _hand_over(self) -> None:
        _log.info("run.handed_over", extra={"response": self._lease.record.id, "epoch": self._lease.record.epoch})
        with suppress(TimeoutError, Lost):
            async with asyncio.timeout(LEAVE_WITHIN_S):
                try:
                    await self._log.flush()
                except Oversized:
                    await self._lease.end(_too_large(self._world))
                else:
                    await self._lease.hand_over()


def _too_large(world: World) -> completion.Decide:
    return completion.unusable(UpstreamOversized(), world.now_ms(), stop=True)
