"""What a run has to write: the start of its work, and events that are not stored yet. Pure."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from shared.core import event_log
from shared.core.changesets import ChangeSet, Row
from shared.core.event_log import Event
from shared.core.records import Record
from shared.core.states import Status, later
from shared.transitions import run_transitions
from shared.transitions.run_transitions import LogPosition, Ownership

Start: TypeAlias = Callable[[Record], tuple[ChangeSet | None, Ownership]]
"""Records that the upstream has accepted the work. Of a change, only its record counts if the work is ours."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Work that the upstream has accepted. `tell` is called with who owns it once that is known."""

    start: Start
    tell: Callable[[Ownership], None]
    within_s: float = 0.05  # how long it waits for the events that follow it
    joins_end: bool = False  # it may be written together with the end
    is_told: bool = False  # numbers are reserved for these events, so that they wait for a batch as others do


@dataclass(frozen=True, slots=True)
class Unstored:
    """Events that follow those in the log, from the number `first` on, and the position and status after them."""

    first: int
    events: tuple[Event, ...]
    size: int  # bytes of text
    position: LogPosition
    status: Status
    beginning: Beginning | None
    rows: tuple[Row, ...] = ()  # of all the events, if they are packed

    def packed(self) -> "Unstored":
        """Return the same with the rows of its events, so that no transition packs them.

        Raises Oversized if an event is too large. Large events take seconds.
        """
        return replace(self, rows=event_log.event_rows(self.first, self.events))

    def append(self, current: Record, *, live: bool) -> ChangeSet:
        """Return the change that stores the events. Raise Oversized if one is too large."""
        done = max(0, current.log.next_seq - self.first)  # stored by an earlier try whose answer was lost
        rows = self.rows if not done and self.rows else event_log.event_rows(self.first + done, self.events[done:])
        return run_transitions.append_events(current, rows, self.position, self.status, live=live)

    def begin(self, current: Record, *, live: bool) -> tuple[ChangeSet | None, Ownership]:
        """Return the change that records the start and stores the events, and who owns the work.

        If it is not ours, nothing is stored. Raises Oversized if an event is too large.
        """
        change, ownership = self.beginning.start(current) if self.beginning else (None, Ownership.OURS)
        started = change.record if change else current
        is_progress = self.events or later(started.status, self.status) != started.status
        if ownership is not Ownership.OURS or not is_progress:
            return change, ownership
        return self.append(started, live=live), ownership

    def add_to(self, current: Record) -> ChangeSet | None:
        """Return the change that belongs to the end of the response. Raise Oversized if an event is too large."""
        if self.beginning:
            change, _ = self.begin(current, live=False)
            return change
        return self.append(current, live=False)
