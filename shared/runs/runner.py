"""Drives a run: its holder reads the upstream, stores the event log, renews the lease and watches the record.

These parts run concurrently. The run is over for this holder as soon as one of them ends.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from shared import off_loop
from shared.core.alarms import Alarm
from shared.core.blobs import Oversized
from shared.core.errors import Conflict, StoreError, StoreRefused, UpstreamOversized, UpstreamRefused
from shared.core.records import Record
from shared.lifecycle import endings
from shared.lifecycle.endings import Outcome
from shared.runs import claims, renewal
from shared.runs.background_consumer import BackgroundConsumer
from shared.runs.consumer import Consumer
from shared.runs.foreground_consumer import ForegroundConsumer
from shared.runs.lease import Lost, RunLease
from shared.runs.log_writer import LogWriter
from shared.runtime.broadcast import Broadcast
from shared.runtime.live_feed import LiveFeed
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import end_turn
from shared.telemetry import lifecycle, tracing
from shared.telemetry.logs import logger
from shared.transitions import run_transitions

_log = logger(__name__)

LEAVE_WITHIN_S = 10.0
CONCLUDE_WITHIN_S = 30.0


async def drive_offered_run(ports: Ports, response_id: str, epoch: int) -> None:
    """Claim a run that was offered for this epoch, and drive it until it is over or handed over.

    Nothing happens if the offer is no longer open.
    """
    packed = await ports.store.request(response_id)  # before the claim, which counts a try
    claimed = await claims.claim(ports, response_id, epoch)
    if claimed:
        record, alarm = claimed
        packed = packed or await ports.store.request(response_id)  # the response was accepted after the look above
        request = await off_loop.unpack(packed or b"")
        with tracing.under(record.trace):
            await Run(ports, record, alarm, request).drive()


class Run:
    """A run that this process holds, with a live reader or without one.

    `alarm` is the lease of the run, and `request` the body for the upstream.
    """

    def __init__(
        self,
        ports: Ports,
        record: Record,
        alarm: Alarm,
        request: dict[str, Any],
        feed: LiveFeed | None = None,
        *,
        in_place: bool = False,
    ) -> None:
        self._ports = ports
        self._feed = feed
        self._upstream = ports.upstreams.of(record).upstream
        duration_ms = run_transitions.lease_ms(replays=self._upstream.is_background)
        self._lease = RunLease(ports, record, alarm, duration_ms)
        self._broadcast = Broadcast(record.id, record.log.next_seq) if record.request.stream else None
        if self._broadcast and feed:
            self._broadcast.attach(feed)
        self._log = LogWriter(ports, self._lease, self._broadcast)
        self.decided = asyncio.Event()  # set when the upstream has accepted the work, rejected it, or cannot be asked
        self._consumer = self._new_consumer(request)
        self._lease.in_place = in_place
        if feed:
            self._lease.left = feed.left
        self._lease.was_offered = feed is None and not in_place
        self._is_known = self._lease.was_offered  # a caller knows the response, so it cannot be withdrawn
        self._is_withdrawing = False
        self._refusal: UpstreamRefused | None = None

    def _new_consumer(self, request: dict[str, Any]) -> Consumer:
        if self._upstream.is_background:
            return BackgroundConsumer(self._ports, self._lease, self._log, request, self.decided, self._upstream)
        return ForegroundConsumer(self._ports, self._lease, self._log, request, self.decided, self._upstream)

    @property
    def record(self) -> Record:
        """The record as this run knows it. After an end by this run, it is the ended one."""
        return self._lease.record

    @property
    def has_begun(self) -> bool:
        """Whether the upstream has taken up the work of a run in place."""
        return self._lease.has_begun

    def leave(self) -> None:
        """Note that the client has left who waits for a run in place."""
        self._lease.left.set()

    async def acknowledge(self) -> None:
        """Keep the response from now on, because its caller will know it. Raise UpstreamRefused if it is withdrawn."""
        self._is_known = True
        if self._is_withdrawing:
            await self.decided.wait()
        if self._refusal:
            raise self._refusal

    def start(self) -> "asyncio.Task[None]":
        """Drive the run beside its client. An unexpected error is logged, and then the lease expires."""
        record = self._lease.record
        with tracing.under(record.trace):
            return self._ports.background.start(
                self.drive(), lambda error: _log.error("run.failed", extra={"response": record.id}, exc_info=error)
            )

    async def drive(self) -> None:
        """Hold the run until it is over, lost or handed over. Raise an unexpected error of one of its parts."""
        if self._broadcast:
            self._ports.local.add(self._broadcast)
        leaving, consuming = asyncio.create_task(self._leaving()), asyncio.create_task(self._consume())
        others = [asyncio.create_task(part) for part in self._others()]
        parts = [leaving, consuming, *others]
        try:
            done, _ = await asyncio.wait(parts, return_when=asyncio.FIRST_COMPLETED)
            self._close()
            await self._let_conclude(consuming)
        finally:
            for part in parts:
                part.cancel()
            await asyncio.gather(*parts, return_exceptions=True)
            self.decided.set()
            self._close()
        if done == {leaving}:
            await self._hand_over()
        for part in done:
            with suppress(Lost):
                part.result()

    def _close(self) -> None:
        """Let the readers here go on without this run."""
        if self._broadcast:
            self._ports.local.remove(self._broadcast)

    # Parts

    def _others(self) -> tuple[Coroutine[Any, Any, None], ...]:
        return self._store(), renewal.keep(self._ports, self._lease), self._lease.watch()

    async def _consume(self) -> None:
        if refusal := await self._consumer.consume():
            await self._refuse(refusal)

    async def _store(self) -> None:
        try:
            await self._log.write()
        except (Oversized, StoreRefused):
            await self._log.abandon(self._too_large())

    async def _leaving(self) -> None:
        """Return when there is a reason to leave.

        A foreground upstream is left only if the client of a run in place leaves before the work has begun. After that
        its stream is the work.
        """
        if not self._upstream.is_background:
            await (self._lease.left if self._lease.in_place else asyncio.Event()).wait()
            if not self._lease.has_begun:
                return
            _log.info("run.orphaned", extra={"response": self._lease.record.id})
            await asyncio.Event().wait()
        left = self._feed.left if self._feed else asyncio.Event()
        with suppress(TimeoutError):
            async with asyncio.timeout(self._ports.config.pace.hold_s):
                await left.wait()

    # A refused request

    async def _refuse(self, refusal: UpstreamRefused) -> None:
        """Withdraw the response if no caller knows it. If one does, or may, end it as failed."""
        is_known = self._is_known or self.decided.is_set() or not refusal.is_for_caller
        if is_known or not await self._withdraw(refusal):
            outcome = endings.refused(refusal, self._ports.clock.now_ms())
            # a live reader has the id, and a POST that waits for an offered run is told by the record
            await self._log.end(replace(outcome, refusal=0) if self._feed else outcome)

    async def _withdraw(self, refusal: UpstreamRefused) -> bool:
        """Remove the rows of the response, and return whether they are gone."""
        self._is_withdrawing = True
        try:
            await self._remove()
            await end_turn(self._ports, self._lease.record)
        except StoreError:
            self._is_withdrawing = False
            self.decided.set()
            return False
        lifecycle.record_withdrawal(self._lease.record, self._upstream.operation, self._ports.clock.now_ms())
        self._refusal = refusal
        return True

    async def _remove(self) -> None:
        """Remove the rows. If the record has changed meanwhile, read it again. Raise StoreError if they must stay."""
        try:
            await self._ports.store.remove_all(self._lease.record, self._lease.alarm.key)
        except Conflict as conflict:
            there = await self._ports.store.read(self._lease.record.id)
            is_ours = there and there.run.epoch == self._lease.record.run.epoch and not there.status.is_terminal
            if there is None or not is_ours or there.acknowledged or conflict.gone:
                raise
            await self._ports.store.remove_all(there, self._lease.alarm.key)

    # Leaving

    async def _let_conclude(self, consuming: asyncio.Task[None]) -> None:
        """Wait for what only this process can write: an end that has arrived, or the token of work that has started."""
        concluded = asyncio.create_task(self._concluded(consuming))
        await asyncio.wait([consuming, concluded], timeout=CONCLUDE_WITHIN_S, return_when=asyncio.FIRST_COMPLETED)
        concluded.cancel()

    async def _concluded(self, consuming: asyncio.Task[None]) -> None:
        if self._is_withdrawing:
            await asyncio.wait([consuming])
        await self._lease.concluded.wait()
        await self._consumer.settled.wait()

    async def _hand_over(self) -> None:
        record = self._lease.record
        _log.info("run.handed_over", extra={"response": record.id, "epoch": record.run.epoch})
        with suppress(TimeoutError, Lost):
            async with asyncio.timeout(LEAVE_WITHIN_S):
                try:
                    await self._log.flush()
                except (Oversized, StoreRefused):
                    await self._log.abandon(self._too_large())
                else:
                    await self._lease.hand_over(takes_back=self._consumer.has_unused_try)

    def _too_large(self) -> Outcome:
        return endings.unusable(UpstreamOversized(), self._ports.clock.now_ms(), stop=True)
