"""The rows of one gate in memory, and what must be true of them after every transaction."""

from collections import Counter
from collections.abc import Sequence

from shared.core.gates import lines, phases
from shared.core.gates.plans import Changes, Plan, Rows, plan
from shared.core.gates.requests import Request
from shared.core.gates.state import NEXT_IN_ALL, NEXT_OF_A_LINE, Gate, GateState, Phase, Place


class RowConflict(Exception):
    """A row beside that of the gate is not as the plan assumed."""


class GateRows:
    """What the table holds of one gate. `check` fails if an invariant of the design does not hold."""

    def __init__(self) -> None:
        self.state: GateState | None = None
        self.version = 0
        self.holds: dict[str, Place] = {}
        self.waits: dict[str, Place] = {}
        self._served_within: dict[str, int] = {}  # how many grants a caller without permits may still wait for
        self._new: set[str] = set()  # those among them that have seen no grant yet

    def rows_of(self, places: Sequence[Place]) -> dict[str, Rows]:
        """Return which rows these responses have."""
        return {one.id: Rows(hold=one.id in self.holds, wait=one.id in self.waits) for one in places}

    def planned(self, gate: Gate, requests: Sequence[Request], now_ms: int, found: dict[str, Rows]) -> Plan:
        """Return a plan. The places that it needs are read for it."""
        state = self.state
        while True:
            made = plan(gate, state, requests, now_ms, found)
            if not made.missing or state is None:
                return made
            for caller in made.missing:
                state = lines.with_places(state, caller, self._line(caller)[:NEXT_OF_A_LINE])

    def commit(self, made: Plan, limit: int | None, now_ms: int) -> None:
        """Carry out a plan, or raise RowConflict. Then check the invariants."""
        self._note_entering(made.changes)
        self._apply(made.changes)
        used = self.state.used if self.state else 0
        self.state = None if made.is_last else made.state
        self.version += 1
        assert limit is None or made.state.used <= max(used, limit)
        for hold in made.changes.holds_in:
            self._note_grant(hold.place.caller)
        self._note_waiting(is_grant=bool(made.changes.holds_in))
        self.check()
        if made.state.phase is Phase.OPEN and made.state.waiting and not made.more:
            assert phases.free(made.state, limit, now_ms) == 0, "G4: a free permit and a line stay together"

    def check(self) -> None:
        """G1: counts are those of the rows. The named places are the beginning of each line."""
        state = self.state or GateState()
        assert state.used == len(self.holds)
        running, waiting = (Counter(one.caller for one in rows.values()) for rows in (self.holds, self.waits))
        assert {caller: line.running for caller, line in state.lines.items() if line.running} == running
        assert {caller: line.waiting for caller, line in state.lines.items() if line.waiting} == waiting
        assert sum(len(line.next) for line in state.lines.values()) <= NEXT_IN_ALL
        for caller, line in state.lines.items():
            assert list(line.next) == self._line(caller)[: len(line.next)]

    def _line(self, caller: str) -> list[Place]:
        return sorted((one for one in self.waits.values() if one.caller == caller), key=lambda one: one.order)

    def _apply(self, changes: Changes) -> None:
        outs = [(self.holds, changes.holds_out), (self.waits, changes.waits_out)]
        ins = [(self.holds, tuple(one.place for one in changes.holds_in)), (self.waits, changes.waits_in)]
        touched = [(id(rows), one.id) for rows, places in (*outs, *ins) for one in places]
        assert len(touched) == len(set(touched)) <= 98, "each row at most once"
        if any(one.id not in rows for rows, places in outs for one in places):
            raise RowConflict
        if any(one.id in rows for rows, places in ins for one in places):
            raise RowConflict
        for rows, places in outs:
            for one in places:
                del rows[one.id]
        for rows, places in ins:
            rows.update({one.id: one for one in places})

    def _note_entering(self, changes: Changes) -> None:
        """Until the next grant, who enters a line may be before a caller that has just used its turn."""
        entering = (*self.waits.values(), *changes.waits_in, *(hold.place for hold in changes.holds_in))
        callers = {one.caller for one in entering}
        self._served_within |= dict.fromkeys(self._new & self._served_within.keys(), len(callers))

    def _note_grant(self, caller: str) -> None:
        self._served_within.pop(caller, None)
        for other in self._served_within:
            self._served_within[other] -= 1
            assert self._served_within[other] > 0, "G5: a caller without permits waits for too long"

    def _note_waiting(self, *, is_grant: bool) -> None:
        held = {one.caller for one in self.holds.values()}
        waiting = {one.caller for one in self.waits.values()}
        hungry = waiting - held
        seen = {one for one in self._served_within if is_grant or one not in self._new}
        self._served_within = {one: self._served_within[one] for one in seen if one in hungry}
        self._new = hungry - self._served_within.keys()
        self._served_within |= dict.fromkeys(self._new, len(waiting))
