"""The lease of a run. The holder renews it, and writes the record only while its epoch is the newest."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

from shared.contract.output_items import OutputItems
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.backoff import before_deadline
from shared.core.changesets import ChangeSet
from shared.core.errors import StoreError, StoreRefused, UpstreamError
from shared.core.gates.state import Turn
from shared.core.records import Record, WaitInfo
from shared.core.states import Status, WaitReason
from shared.lifecycle import completion, endings
from shared.lifecycle.completion import Holder
from shared.lifecycle.endings import Outcome
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import TransitionWithResult, apply
from shared.starts import turns
from shared.starts.failed_starts import may_leave_work
from shared.telemetry.logs import logger
from shared.transitions import run_transitions, upstream_transitions
from shared.transitions.run_transitions import Ownership
from shared.transitions.upstream_transitions import wait_for
from shared.upstreams import tries

_log = logger(__name__)
_PAUSE_S = 1.0
_LOOK_MIN_S = 0.02
HOLD_MAX_MS = 21_000_000  # the platform ends an invocation after `functionTimeout`, which is 6 h
T = TypeVar("T")
R = TypeVar("R")


class Lost(Exception):
    """Another process holds the run, or the run is over."""


class RunLease:
    """A run that this process holds: its record as last known, and the alarm that fires if the renewals stop."""

    def __init__(self, ports: Ports, record: Record, alarm: Alarm, duration_ms: int = LEASE_MS[Kind.RUN]) -> None:
        """Take the record, and the alarm as it was written for a lease of this duration."""
        self._ports = ports
        self._writing = asyncio.Lock()
        self._seen_s = ports.clock.elapsed_s()
        # Where a renewal of unknown outcome may have moved the alarm.
        self._unconfirmed: Alarm | None = None
        self._until_ms = min(record.deadline_ms, ports.clock.now_ms() + HOLD_MAX_MS)
        self.record = record
        self.alarm = alarm
        self.duration_ms = duration_ms
        self.in_place = False  # the run is driven where its request arrived
        self.was_offered = False  # the run came by an offer, so another process may have got its permit
        self.has_begun = False  # the upstream has taken up the work of a run in place
        self.left = asyncio.Event()  # set when the client of a run in place has left
        self.is_moving = False  # its renewal is under way
        self.is_lost = False  # its alarm is no longer there
        self.items = OutputItems()  # of a response without an event log
        self._write_ids = set[str]()  # of the tries to end the response
        self.concluded = asyncio.Event()  # cleared while an end or a hand-over is being written
        self.concluded.set()
        self._is_given_up = False

    # Writing

    async def write(self, transition: Callable[[Record], ChangeSet | None], *, gives_up: bool = False) -> None:
        """Write what a transition decides, and retry while storage is unavailable.

        With `gives_up`, the alarm is removed in the same transaction, and the run is lost from then on. Raises Lost if
        this process has lost the run.
        """

        def fenced(current: Record) -> tuple[ChangeSet | None, None]:
            is_lost = current.run.epoch != self.record.run.epoch or current.status.is_terminal
            if self._is_given_up or is_lost:
                raise Lost
            return transition(current), None

        record, _ = await self._apply(fenced, self.alarm if gives_up else None)
        self._note(record)
        self._is_given_up = gives_up

    async def begin(self, transition: TransitionWithResult[Ownership]) -> Ownership:
        """Write that the upstream has accepted work, as a transition decides, and return who owns it: us, or others.

        The transition is applied even if this process has lost the run, because it may have to stop the work. Raises
        Lost in that case.
        """
        record, ownership = await self._apply(transition)
        if ownership is None or ownership is Ownership.LOST:
            raise Lost
        self._note(record)
        return ownership

    async def end(self, outcome: Outcome, before: Callable[[Record], ChangeSet | None] | None = None) -> Record | None:
        """End the response unless this process has lost the run, and retry while storage is unavailable.

        `before` is as in `completion.end`. Returns the record as it then is, or None if it does not exist.
        """
        self.concluded.clear()
        try:
            async with self._writing:
                return await self.insist(lambda: self._end(outcome, before))
        finally:
            self.concluded.set()

    async def _end(self, outcome: Outcome, before: Callable[[Record], ChangeSet | None] | None) -> Record | None:
        record, items = self.record, None if self.record.request.stream else self.items
        holder = Holder(record.run.epoch, items, before, self._write_ids)
        stays = outcome.status is Status.FAILED and may_leave_work(self._ports, record, record.upstream.counted)
        ended = await completion.end(self._ports, record, record.id, outcome, None if stays else self.alarm, holder)
        if ended and ended.status.is_terminal:
            self.record = ended
        return ended

    async def count_try(self) -> None:
        """Count a try of a create before it is made. Raises Lost if this process has lost the run."""
        await self.write(run_transitions.count_try)

    async def hand_over(
        self, due_ms: int | None = None, *, takes_back: bool = False, error: UpstreamError | None = None
    ) -> None:
        """Give up the run and ask for another holder, now or at `due_ms` in unix milliseconds, before the deadline.

        With `takes_back`, the try that was counted last does not count. `error` is what the response waits for until
        `due_ms`. Raises Lost if this process has lost the run.
        """
        now_ms = self._ports.clock.now_ms()
        next_ms = None if due_ms is None else before_deadline(due_ms, now_ms, self.record.deadline_ms)

        def transition(current: Record) -> ChangeSet:
            if next_ms is None:
                return run_transitions.offer(current, self.alarm, now_ms, takes_back=takes_back)
            is_taken = next_ms == self.alarm.due_ms  # by the alarm that is removed in the same transaction
            change = run_transitions.release(current, next_ms + is_taken, now_ms, takes_back=takes_back)
            if error is None:
                return change
            wait = _wait_after(current.wait, error, now_ms, next_ms)
            may_have_begun = tries.may_have_begun(error)
            return replace(
                change, record=upstream_transitions.waiting(change.record, wait, may_have_begun=may_have_begun)
            )

        self.concluded.clear()  # else a look that sees the new epoch first would cut this off before it is noted
        try:
            await self.write(transition, gives_up=True)
        finally:
            self.concluded.set()

    async def wait_in_line(self, turn: Turn, detail: str) -> None:
        """Give up the run, which waits for its turn from now on. Raises Lost if this process has lost the run.

        The caller clears `concluded` meanwhile.
        """
        now_ms = self._ports.clock.now_ms()

        def transition(current: Record) -> ChangeSet:
            wait = turns.waiting_for(current.wait, turn, detail, now_ms)
            return run_transitions.wait_in_line(current, wait, turns.start_alarm(current), takes_back=True)

        await self.write(transition, gives_up=True)

    async def wait_for(self, error: UpstreamError, next_ms: int) -> None:
        """Record what the response waits for until the next try, at `next_ms` in unix milliseconds. Raises Lost."""
        now_ms = self._ports.clock.now_ms()
        binds = tries.may_have_begun(error)
        await self.write(lambda now: wait_for(now, _wait_after(now.wait, error, now_ms, next_ms), may_have_begun=binds))
        self._tell(self.record.wait)

    async def go_on(self) -> None:
        """Record that the response waits for its work again, if that is not so yet. Raises Lost."""
        if self.record.wait.reason:
            await self.write(lambda now: wait_for(now, WaitInfo()))
            self._tell(self.record.wait)

    def _tell(self, wait: WaitInfo) -> None:
        """Tell the readers here what the response waits for."""
        if broadcast := self._ports.local.broadcast_of(self.record.id):
            broadcast.wait = wait

    async def _apply(
        self, transition: TransitionWithResult[R], held: Alarm | None = None
    ) -> tuple[Record | None, R | None]:
        async with self._writing:
            return await self.insist(lambda: apply(self._ports, self.record, self.record.id, transition, held))

    async def insist(self, act: Callable[[], Awaitable[T]]) -> T:
        """Return the result of `act`. While storage is unavailable, repeat it every second. Raises StoreRefused."""
        wait, clock = WaitInfo(), self._ports.clock
        while True:
            try:
                done = await act()
            except StoreRefused:
                raise
            except StoreError as error:
                kind = type(error).__name__
                _log.warning("run.unwritten", extra={"response": self.record.id, "error": kind})
                wait = wait.after(WaitReason.STORAGE, kind, clock.now_ms(), clock.now_ms() + int(_PAUSE_S * 1000))
                self._tell(wait)
                await clock.sleep(_PAUSE_S)
            else:
                if wait.reason:
                    self._tell(self.record.wait)
                return done

    async def is_held(self) -> bool:
        """Return whether this process holds the run. The record is read only if the time of the lease is past.

        That happens if the process was frozen, or something blocked its event loop.
        """
        if self._ports.clock.now_ms() < self.alarm.due_ms:
            return True
        there = await self.insist(lambda: self._ports.store.read(self.record.id, with_body=False))
        return self._is_ours(there)

    # Renewal

    def is_used(self, now_ms: int, part: float) -> bool:
        """Return whether this part of its duration is over, and nobody is renewing it. The wall clock decides."""
        return not self.is_moving and self.alarm.due_ms - now_ms <= self.duration_ms * (1 - part)

    def doubt(self, following: Alarm) -> None:
        """Note where a move of unknown outcome may have put the alarm."""
        self._unconfirmed = following

    def note_renewal(self, moved: Alarm | None) -> None:
        """Note the alarm that was moved, or None if it was not there. An earlier move may have put it elsewhere."""
        following = moved or self._unconfirmed
        self._unconfirmed = None
        if following:
            self.alarm = following
        else:
            self.is_lost = True

    async def watch(self) -> None:
        """Read the record until cancelled, whenever it is a second old, or older in a process with many runs.

        Raises Lost if the run is lost or over. A response that is past its deadline is ended first.
        """
        clock = self._ports.clock
        while True:
            watch_s = self._ports.local.watch_wait_s(self._ports.config.pace)
            await clock.sleep(max(self._seen_s + watch_s - clock.elapsed_s(), _LOOK_MIN_S))
            if clock.now_ms() >= self._until_ms:
                await self.end(endings.deadline_exceeded(clock.now_ms()))
                raise Lost
            if clock.elapsed_s() - self._seen_s >= watch_s:
                await self._look()

    async def _look(self) -> None:
        try:
            there = await self._ports.store.read(self.record.id, with_body=False)
        except StoreError:
            return  # while storage is unavailable, no other process can claim the run either
        if not self._is_ours(there):
            raise Lost
        self._seen_s = self._ports.clock.elapsed_s()

    def _is_ours(self, there: Record | None) -> bool:
        return there is not None and there.run.epoch == self.record.run.epoch and not there.status.is_terminal

    def _note(self, record: Record | None) -> None:
        if record is None:
            raise Lost
        self.record = record
        self._seen_s = self._ports.clock.elapsed_s()


def _wait_after(wait: WaitInfo, error: UpstreamError, now_ms: int, next_ms: int) -> WaitInfo:
    return wait.after(error.waits_for, str(error), now_ms, next_ms)
