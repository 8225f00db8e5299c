"""The rules of gates under random interleavings, with commits whose answer is lost. After each, the invariants hold."""

import random
from collections.abc import Sequence

import pytest

from shared.core.gates.requests import Kind, Request, fitting
from shared.core.gates.state import Gate, Place
from tests.support.gate_model import GateRows, RowConflict
from tests.support.gate_places import NOW_MS, place

CALLERS = ["ann", "bob", "cat", "dan", "eve"]
NO_PLACE = Place("", "")


class Play:
    """Random processes at one gate. A response is new, waiting, at work, or over, as the processes believe."""

    def __init__(self, seed: int, limit: int | None) -> None:
        self.random = random.Random(seed)
        self.limit = limit
        self.rows = GateRows()
        self.now_ms = NOW_MS
        self.numbers = iter(range(100_000))

    def carry_out(self, requests: Sequence[Request], *, is_known: bool = False) -> None:
        """Carry out what fits into one transaction. Its answer may be lost, and then it is carried out again."""
        state = self.rows.state
        chosen = [requests[one] for one in fitting(requests, has_line=bool(state and state.waiting))]
        known = self.rows.rows_of([one.place for one in chosen if one.place.id]) if is_known else {}
        clock_ms = self.now_ms + self.random.choice([-5_000, 0, 5_000])
        for _ in range(3):
            made = self.rows.planned(Gate("g", self.limit), chosen, clock_ms, known)
            if made.is_idle(self.rows.state):
                return
            try:
                self.rows.commit(made, self.limit, clock_ms)
            except RowConflict:
                known = self.rows.rows_of([*made.changes.places, *(one.place for one in chosen if one.place.id)])
                continue
            if self.random.random() < 0.9:  # otherwise the answer was lost, and others have written since
                return
            known = {}

    def new(self) -> list[Request]:
        """Return the wishes of new responses, and of some that have asked before."""
        fresh = [place(next(self.numbers), self.random.choice(CALLERS)) for _ in range(self.random.randint(1, 25))]
        return [Request(Kind.TAKE, one) for one in fresh]

    def step(self) -> None:
        """Do one thing that a process may do."""
        self.now_ms += self.random.choice([0, 3, 400, 1_100])
        at_work, waiting = list(self.rows.holds.values()), list(self.rows.waits.values())
        some = self.random.sample(at_work, min(len(at_work), self.random.randint(1, 20)))
        match self.random.randrange(9):
            case 0 | 1:
                self.carry_out(self.new())
            case 2 | 3:
                self.carry_out([Request(Kind.RELEASE, one) for one in some])
            case 4 if self.random.random() < 0.3:
                asked_s = self.random.choice([None, 2.0])
                self.carry_out([Request(Kind.REFUSE, one, asked_s, "rate_limit") for one in some[:3]])
            case 5:
                both = [*some[:2], *self.random.sample(waiting, min(len(waiting), 3))]
                self.carry_out([Request(Kind.LEAVE, one) for one in both], is_known=self.random.random() < 0.5)
            case 6:
                again = [*some[:2], *self.random.sample(waiting, min(len(waiting), 3))]
                self.carry_out([Request(Kind.TAKE, one) for one in again], is_known=True)
            case 7:
                self.carry_out([Request(Kind.FAIL, one) for one in some])
            case _:
                kind = self.random.choice([Kind.ACCEPT, Kind.GRANT, Kind.CHECK])
                self.carry_out([Request(kind, NO_PLACE)])

    def finish(self) -> None:
        """Let everybody be served, and end."""
        while self.rows.holds or self.rows.waits:
            self.now_ms += 40_000
            self.carry_out([Request(Kind.GRANT, NO_PLACE)])
            self.carry_out([Request(Kind.ACCEPT, NO_PLACE)])
            self.carry_out([Request(Kind.RELEASE, one) for one in self.rows.holds.values()])
        self.now_ms += 700_000
        self.carry_out([Request(Kind.GRANT, NO_PLACE)])


@pytest.mark.parametrize("limit", [1, 3, 20, 500, None])
@pytest.mark.parametrize("seed", range(6))
def test_the_invariants_hold_after_every_transaction(seed: int, limit: int | None) -> None:
    """Counts are those of the rows, the limit holds, nobody waits beside a free permit, and each caller is served.

    At the end nothing is left: no permit, no place, and without a limit no row.
    """
    play = Play(seed, limit)
    for _ in range(100):
        play.step()
    play.finish()
    state = play.rows.state
    assert (state is None) if limit is None else (state is not None and state.used == 0 and not state.lines)


@pytest.mark.parametrize("seed", range(4))
def test_the_limit_may_change_at_any_time(seed: int) -> None:
    """A lower limit never takes permits away, a higher one is used at once, and none lets everybody through."""
    play = Play(seed, 40)
    for limit in (40, 3, 60, None, 2):
        play.limit = limit
        play.carry_out([Request(Kind.GRANT, NO_PLACE)])
        for _ in range(40):
            play.step()
    play.finish()
    assert play.rows.state is not None
    assert play.rows.state.used == 0


@pytest.mark.parametrize("seed", range(4))
def test_with_one_permit_each_caller_has_its_turn(seed: int) -> None:
    """Three callers with ten responses each are served one after the other, in each of ten turns."""
    play = Play(seed, 1)
    wishes = [Request(Kind.TAKE, place(next(play.numbers), caller)) for caller in CALLERS[:3] for _ in range(10)]
    play.random.shuffle(wishes)
    play.carry_out(wishes)
    served = []
    while play.rows.holds:
        (one,) = play.rows.holds.values()
        served.append(one.caller)
        play.carry_out([Request(Kind.RELEASE, one)])
    assert [set(served[at : at + 3]) for at in range(0, 30, 3)] == [set(CALLERS[:3])] * 10
