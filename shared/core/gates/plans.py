"""What one transaction does to a gate: from its row as read and the wishes of responses to the rows that change.

A plan assumes the usual: who releases has a permit, and who takes has neither a permit nor a place. If a row is not as
assumed, the caller looks at the rows and plans again with what it has found.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from shared.core.gates import lines, phases, waits
from shared.core.gates.requests import MAX_ROWS, Kind, Request
from shared.core.gates.state import NEXT_OF_A_LINE, Gate, GateState, Hold, Line, Phase, Place, Turn

CHECK_MS = 55_000  # between two checks of the rows of one gate


@dataclass(frozen=True, slots=True)
class Rows:
    """Which rows a response has at a gate, as found in the table."""

    hold: bool
    wait: bool


@dataclass(frozen=True, slots=True)
class Changes:
    """The rows that a transaction inserts and deletes, beside the row of the gate."""

    holds_in: tuple[Hold, ...] = ()
    holds_out: tuple[Place, ...] = ()
    waits_in: tuple[Place, ...] = ()
    waits_out: tuple[Place, ...] = ()

    @property
    def places(self) -> tuple[Place, ...]:
        """The responses whose rows change."""
        return (*(hold.place for hold in self.holds_in), *self.holds_out, *self.waits_in, *self.waits_out)


@dataclass(frozen=True, slots=True)
class Plan:
    """A transaction to be. `answers` has one answer for each request: None, or a Turn for a response that waits.

    `granted` are the responses that get a permit while they wait. `more` says that permits are left for the lines.
    `missing` are the callers whose next places must be read first. `is_last` says that the rows of the gate go out.
    """

    state: GateState
    changes: Changes
    answers: tuple[Turn | None, ...]
    granted: tuple[Place, ...]
    more: bool
    missing: frozenset[str]
    is_last: bool

    def is_idle(self, before: GateState | None) -> bool:
        """Return whether there is nothing to write. `before` is the row of the gate as read, or None."""
        return self.state == (before or GateState()) and not self.changes.places and not self.is_last


def plan(
    gate: Gate,
    before: GateState | None,
    requests: Sequence[Request],
    now_ms: int,
    found: Mapping[str, Rows] | None = None,
) -> Plan:
    """Return what a transaction does for these requests, of which each is about another response.

    `before` is the row of the gate as read, or None if there is none. `found` are rows that were looked at since,
    by id. `now_ms` is unix milliseconds.
    """
    draft = _Draft(gate, before, now_ms, found or {})
    for request in sorted(requests, key=lambda one: one.kind):
        draft.serve(request)
    draft.grant_waiting()
    return draft.plan(requests)


@dataclass(slots=True)
class _Draft:
    """A plan in the making."""

    gate: Gate
    before: GateState | None
    now_ms: int
    found: Mapping[str, Rows]
    state: GateState = field(init=False)
    holds_in: dict[str, Hold] = field(default_factory=dict)
    holds_out: dict[str, Place] = field(default_factory=dict)
    waits_in: dict[str, Place] = field(default_factory=dict)
    waits_out: dict[str, Place] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)  # of the places that enter a line, by id
    granted: list[Place] = field(default_factory=list)
    missing: set[str] = field(default_factory=set)
    waits: set[str] = field(default_factory=set)  # the ids of those that do not get a permit at once
    unchecked: bool = False
    more: bool = False

    def __post_init__(self) -> None:
        state = self.before or GateState()
        opens = self.gate.is_gone and not state.is_of_others(self.gate, self.now_ms)
        self.state = phases.advance(phases.opened(state) if opens else state, self.now_ms)

    def serve(self, request: Request) -> None:
        match request.kind:
            case Kind.LEAVE:
                self._leave(request.place)
            case Kind.RELEASE:
                self._release(request.place)
            case Kind.REFUSE:
                self._refuse(request)
            case Kind.ACCEPT:
                self.state = phases.accept(self.state, self.now_ms)
            case Kind.FAIL:
                self.state = phases.failed(self.state, request.place.id, self.now_ms)
            case Kind.TAKE:
                self._take(request.place, stays=request.stays)
            case Kind.CHECK:
                self._check()

    # Requests

    def _leave(self, place: Place) -> None:
        rows = self.found.get(place.id)
        line = self.state.lines.get(place.caller)
        waits = rows.wait if rows else bool(line and line.waiting)
        if waits:
            self.waits_out[place.id] = place
            self.state = lines.leave(self.state, place)
        if rows or not waits:
            self._release(place)

    def _release(self, place: Place) -> None:
        rows = self.found.get(place.id)
        if rows.hold if rows else self.state.used:
            self.holds_out[place.id] = place
            self.state = phases.unused(lines.end(self.state, place.caller), place.id, self.now_ms)

    def _refuse(self, request: Request) -> None:
        self._release(request.place)
        self.state = phases.close(self.state, self.now_ms, request.retry_after_s, request.reason)
        if request.stays:
            self._enter(request.place)

    def _take(self, place: Place, *, stays: bool) -> None:
        rows = self.found.get(place.id)
        if rows and rows.hold:
            return
        if self._limit is None and self.state.phase is Phase.OPEN and not self.state.waiting:
            return
        if not self.state.waiting and self._may_grant():
            self._hold(replace(place, start_due_ms=0))  # it is no grant that a round would report
        elif stays:
            self._enter(place)
        else:
            self.waits.add(place.id)

    def _enter(self, place: Place) -> None:
        self.waits.add(place.id)
        line = self.state.lines.get(place.caller)
        rows = self.found.get(place.id)
        if rows.wait if rows else (line and place.id in {one.id for one in line.next}):
            return
        self.waits_in[place.id] = place
        self.state = lines.enter(self.state, place)
        self.numbers[place.id] = self.state.lines[place.caller].put

    def _check(self) -> None:
        if self.state.checked_ms + CHECK_MS > self.now_ms:
            self.unchecked = True
        else:
            self.state = replace(self.state, checked_ms=self.now_ms)

    # Grants

    def grant_waiting(self) -> None:
        """Give what is free to the lines, as far as the transaction has room and the next places are known."""
        while self._may_grant() and (line := lines.next_line(self.state)):
            if self._row_count > MAX_ROWS - 2:
                self.more = True
                return
            if not line.next:
                self._note_missing(line)
                return
            place = line.next[0]
            if place.id in self.holds_out:  # its row may change only once
                self.more = True
                return
            self._grant(place)

    def _grant(self, place: Place) -> None:
        rows = self.found.get(place.id) or Rows(hold=False, wait=True)
        self.state = lines.leave(self.state, place)
        if place.id in self.waits_in:
            del self.waits_in[place.id]
        elif rows.wait:
            self.waits_out[place.id] = place
        if not rows.wait or rows.hold:
            return
        self._hold(place)
        if place.id in self.waits:
            self.waits.remove(place.id)
        else:
            self.granted.append(place)

    def _hold(self, place: Place) -> None:
        self.state = phases.granted(lines.begin(self.state, place.caller), self.now_ms, place.id)
        self.holds_in[place.id] = Hold(place, self.now_ms, self.state.phase)

    def _note_missing(self, line: Line) -> None:
        """Have the next places read, if the table has any that this plan does not know. Otherwise commit first."""
        stored = self.before.lines.get(line.caller) if self.before else None
        if stored and len(stored.next) < min(stored.waiting, NEXT_OF_A_LINE):
            self.missing.add(line.caller)
        else:
            self.more = True

    def _may_grant(self) -> bool:
        free = phases.free(self.state, self._limit, self.now_ms)
        return free is None or free > 0

    @property
    def _limit(self) -> int | None:
        """The number of permits, which is none if only other processes know it."""
        if self.state.is_of_others(self.gate, self.now_ms):
            return 0
        return None if self.gate.is_gone else self.gate.limit

    @property
    def _row_count(self) -> int:
        return len(self.holds_in) + len(self.holds_out) + len(self.waits_in) + len(self.waits_out)

    # The plan

    def plan(self, requests: Sequence[Request]) -> Plan:
        self.state = phases.settle(self.state)
        changes = Changes(
            holds_in=tuple(self.holds_in.values()),
            holds_out=tuple(self.holds_out.values()),
            waits_in=tuple(self.waits_in.values()),
            waits_out=tuple(self.waits_out.values()),
        )
        if not self.gate.is_gone and (changes.places or self.state != (self.before or GateState())):
            self.state = replace(self.state, named_ms=self.now_ms)
        is_quiet = self._limit is None and phases.is_quiet(self.state, self.now_ms)
        answers = tuple(self._answer(request) for request in requests)
        missing = frozenset(self.missing)
        return Plan(
            self.state, changes, answers, tuple(self.granted), self.more, missing, is_quiet and self.before is not None
        )

    def _answer(self, request: Request) -> Turn | None:
        if request.kind is Kind.CHECK:
            return Turn(None, "checked") if self.unchecked else None
        if request.place.id not in self.waits:
            return None
        return self._turn(request.place)

    def _turn(self, place: Place) -> Turn:
        reason, next_ms = waits.standing(self.state)
        number = self.numbers.get(place.id, 0)
        return Turn(self._number(place), reason, next_ms, self.gate.name, number)

    def _number(self, place: Place) -> int | None:
        """Return the place of a response in its line, counted from 1, or None if it is not known."""
        line = self.state.lines.get(place.caller) or Line(place.caller)
        named = [one.id for one in line.next]
        if place.id in named:
            return named.index(place.id) + 1
        number = self.numbers.get(place.id)
        return number - line.taken if number else None
