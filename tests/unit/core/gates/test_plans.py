"""What one transaction does to a gate."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from shared.core.gates import phases
from shared.core.gates.plans import CHECK_MS, Changes, Plan, Rows, plan
from shared.core.gates.requests import MAX_ROWS, Kind, Request
from shared.core.gates.state import NAMED_MS, Gate, GateState, Hold, Line, Phase, Place, Turn
from tests.support.gate_places import NOW_MS, line, place, state_of

NO_PLACE = Place("", "")
UNLIMITED = Gate("g", None)
GRANT = Request(Kind.GRANT, NO_PLACE)
CLOSED = phases.close(GateState(), NOW_MS, None, "rate_limit")


def made(
    state: GateState | None, *requests: Request, limit: int | None = 2, found: Mapping[str, Rows] | None = None
) -> Plan:
    """Return the plan for these requests."""
    return plan(Gate("g", limit), state, requests, NOW_MS, found)


def take(number: int, caller: str = "ann") -> Request:
    """Return the wish for a permit."""
    return Request(Kind.TAKE, place(number, caller))


def release(number: int, caller: str = "ann") -> Request:
    """Return the wish to give a permit back."""
    return Request(Kind.RELEASE, place(number, caller))


def refuse(number: int, *, stays: bool = True) -> Request:
    """Return the report of a refusal."""
    return Request(Kind.REFUSE, place(number), reason="rate_limit", stays=stays)


def leave(number: int) -> Request:
    """Return the wish to leave a line."""
    return Request(Kind.LEAVE, place(number))


def hold(number: int, caller: str = "ann", phase: Phase = Phase.OPEN) -> Hold:
    """Return a permit that is given now."""
    return Hold(place(number, caller), NOW_MS, phase)


# Taking


def test_a_free_permit_is_taken_at_once() -> None:
    """The first response of a gate needs no row before it. Those beyond the limit wait."""
    one = made(None, take(1), take(2), take(3))
    at_once = tuple(replace(one, place=replace(one.place, start_due_ms=0)) for one in (hold(1), hold(2)))
    assert one.changes == Changes(holds_in=at_once, waits_in=(place(3),))
    assert one.answers == (None, None, Turn(1, "turn"))
    assert (one.state.used, one.state.waiting, one.granted, one.more) == (2, 1, (), False)


def test_nobody_overtakes_a_line() -> None:
    """While somebody waits, a free permit goes to the line. Who asks in the same transaction takes part."""
    waiting = state_of(line("bob", 1))
    both = made(waiting, take(2))
    assert both.changes == Changes(holds_in=(hold(1, "bob"), hold(2)), waits_out=(place(1, "bob"),))
    assert (both.granted, both.answers) == ((place(1, "bob"),), (None,))
    one = made(waiting, take(2), limit=1)
    assert one.changes == Changes((hold(1, "bob"),), (), (place(2),), (place(1, "bob"),))
    assert one.answers == (Turn(1, "turn"),)


def test_a_place_is_an_upper_bound() -> None:
    """It counts who entered the line before, without those that have left it."""
    behind = state_of(Line("ann", running=2, put=30, taken=5, next=(place(1),)))
    assert made(behind, take(99)).answers == (Turn(26, "turn"),)


def test_a_second_request_changes_nothing() -> None:
    """A response that is found to hold a permit, or to wait, keeps what it has."""
    waiting = state_of(line("ann", 1), Line("bob", running=2))
    held = {place(9).id: Rows(hold=True, wait=False)}
    assert made(waiting, take(9), found=held).answers == (None,)
    assert made(waiting, take(9), found=held).is_idle(waiting)
    assert made(waiting, take(1)).answers == (Turn(1, "turn"),)
    assert made(waiting, take(1)).is_idle(waiting)
    unnamed = {place(9).id: Rows(hold=False, wait=True)}
    assert made(waiting, take(9), found=unnamed).answers == (Turn(None, "turn"),)
    assert made(waiting, take(9), found=unnamed).is_idle(waiting)


def test_a_gate_without_a_limit_needs_no_permits_while_it_is_open() -> None:
    """Neither without rows, nor with permits from an earlier refusal."""
    assert made(None, take(1), limit=None).is_idle(None)
    used = state_of(Line("ann", running=3))
    assert made(used, take(1), limit=None).is_idle(used)
    assert made(CLOSED, take(1), limit=None).answers == (Turn(1, "rate_limit", CLOSED.until_ms),)


# Giving back


def test_a_permit_is_handed_on_in_the_same_transaction() -> None:
    """The number of permits in use stays the same."""
    full = state_of(Line("ann", running=2), line("bob", 3, 4))
    one = made(full, release(1))
    assert one.changes == Changes((hold(3, "bob"),), (place(1),), (), (place(3, "bob"),))
    assert (one.state.used, one.granted) == (2, (place(3, "bob"),))


def test_what_has_no_permit_gives_none_back() -> None:
    """A gate without permits writes nothing, and a missing row is left out once it is known to be missing."""
    assert made(None, release(1)).is_idle(None)
    full = state_of(Line("ann", running=2))
    assert made(full, release(9), found={place(9).id: Rows(hold=False, wait=False)}).is_idle(full)


def test_a_lowered_limit_grants_nothing_until_enough_is_given_back() -> None:
    """Permits in use stay valid."""
    full = state_of(Line("ann", running=4), line("bob", 9))
    assert made(full, release(1), limit=3).granted == ()
    assert made(full, release(1), release(2), limit=3).granted == (place(9, "bob"),)


# Leaving


def test_a_response_that_has_ended_leaves_its_line() -> None:
    """Its place goes out, or, where nobody is in its line, its permit."""
    waiting = state_of(line("ann", 1, 2), Line("bob", running=2))
    assert made(waiting, leave(1)).changes == Changes(waits_out=(place(1),))
    assert made(state_of(Line("ann", running=2)), leave(1)).changes == Changes(holds_out=(place(1),))
    assert made(None, leave(1)).is_idle(None)


def test_what_is_found_decides_what_goes_out() -> None:
    """A place, a permit, both, or neither."""
    waiting = state_of(line("ann", 1, 2, running=1), Line("bob", running=1))
    both = made(waiting, leave(1), found={place(1).id: Rows(hold=True, wait=True)})
    assert both.changes == Changes((hold(2),), (place(1),), (), (place(1), place(2)))
    neither = made(waiting, leave(9), found={place(9).id: Rows(hold=False, wait=False)})
    assert neither.is_idle(waiting)
    granted = made(waiting, leave(9), found={place(9).id: Rows(hold=True, wait=False)})
    assert granted.changes.holds_out == (place(9),)


# Refusals


def test_a_refused_response_goes_back_to_its_place() -> None:
    """Its permit goes out, its place in, and nothing is granted, in one transaction."""
    state = state_of(line("ann", 5, running=2))
    one = made(state, refuse(1), take(7, "bob"))
    assert one.changes == Changes(holds_out=(place(1),), waits_in=(place(1), place(7, "bob")))
    until_ms = NOW_MS + 1_000
    assert one.answers == (Turn(1, "rate_limit", until_ms), Turn(1, "rate_limit", until_ms))
    assert (one.state.phase, one.state.used, one.granted) == (Phase.CLOSED, 1, ())


def test_a_refusal_makes_the_rows_of_a_gate_without_a_limit() -> None:
    """A response that moved to another gate leaves no place."""
    one = made(None, refuse(1), limit=None)
    assert one.changes == Changes(waits_in=(place(1),))
    assert one.state.phase is Phase.CLOSED
    moved = made(None, refuse(1, stays=False), limit=None)
    assert (moved.changes, moved.answers) == (Changes(), (None,))
    assert not moved.is_idle(None)
    again = made(one.state, refuse(1), limit=None, found={place(1).id: Rows(hold=False, wait=True)})
    assert again.changes == Changes()


def test_the_first_grant_after_a_refusal_is_a_probe() -> None:
    """It is the next of the line, or who asks where nobody waits."""
    over = replace(state_of(line("ann", 1, 2)), phase=Phase.CLOSED, until_ms=NOW_MS, reason="rate_limit")
    one = made(over, GRANT)
    assert one.changes == Changes(holds_in=(hold(1, phase=Phase.PROBING),), waits_out=(place(1),))
    assert one.state.until_ms == NOW_MS + phases.PROBING_MS
    (probe,) = made(replace(over, lines={}), take(5)).changes.holds_in
    assert (probe.place.id, probe.phase) == (place(5).id, Phase.PROBING)


def test_an_accepted_probe_lets_two_more_through() -> None:
    """They are granted in the transaction that notes the acceptance."""
    probing = replace(
        state_of(line("ann", 2, 3, 4, running=1)), phase=Phase.PROBING, until_ms=NOW_MS + 9, reason="rate_limit"
    )
    one = made(probing, Request(Kind.ACCEPT, NO_PLACE), limit=9)
    assert one.granted == (place(2), place(3))
    assert (one.state.phase, one.state.left, one.more) == (Phase.STEPPING, 0, False)


# Grants


def test_a_transaction_grants_as_much_as_it_has_room_for() -> None:
    """The agent then goes on with another one."""
    callers = [line(f"c{caller}", *range(caller * 16, caller * 16 + 16)) for caller in range(5)]
    one = made(state_of(*callers), GRANT, limit=200)
    assert len(one.granted) == MAX_ROWS // 2
    assert one.more
    assert not one.missing


def test_places_that_are_not_named_are_read_first() -> None:
    """The plan says whose. Those that were put by itself are granted by the next one."""
    assert made(state_of(Line("ann", put=9)), GRANT).missing == {"ann"}
    used_up = state_of(Line("ann", put=40, next=tuple(place(number) for number in range(16))))
    one = made(used_up, GRANT, limit=99)
    assert (len(one.granted), one.missing, one.more) == (16, frozenset(), True)
    new = made(state_of(line("bob", 99)), *(take(number) for number in range(20)), limit=50)
    assert (len(new.changes.holds_in), len(new.changes.waits_in), new.more) == (17, 4, True)


def test_rows_that_are_not_as_named_are_set_right() -> None:
    """A place that is missing, or whose response has a permit, is taken out without a grant."""
    state = state_of(line("ann", 1, 2, 3), used=0)
    found = {place(1).id: Rows(hold=False, wait=False), place(2).id: Rows(hold=True, wait=True)}
    one = made(state, GRANT, limit=1, found=found)
    assert one.changes == Changes(holds_in=(hold(3),), waits_out=(place(2), place(3)))
    assert one.granted == (place(3),)


def test_a_row_changes_once_in_a_transaction() -> None:
    """A response that gives back its permit cannot be granted another one in the same transaction."""
    one = made(state_of(line("ann", 1, running=1)), release(1), limit=1)
    assert one.changes == Changes(holds_out=(place(1),))
    assert one.more


# Settings


def test_a_gate_that_is_gone_from_the_settings_lets_everything_through() -> None:
    """Even one that is closed. Each response then ends with its error."""
    state = replace(CLOSED, lines={"ann": line("ann", 1, 2, 3)})
    one = plan(Gate("g", 1, is_gone=True), state, [GRANT], NOW_MS)
    assert one.granted == (place(1), place(2), place(3))
    assert one.state.phase is Phase.OPEN


@pytest.mark.parametrize("phase", [Phase.OPEN, Phase.CLOSED])
def test_a_gate_that_other_processes_have_is_left_to_them(phase: Phase) -> None:
    """During a deployment, settings differ. A process that does not know the limit gives out no permit."""
    state = replace(state_of(line("ann", 1, 2)), phase=phase, named_ms=NOW_MS - NAMED_MS + 1)
    one = plan(Gate("g", None, is_gone=True), state, [GRANT, release(9), take(3)], NOW_MS)
    assert (one.granted, one.state.phase) == ((), phase)
    assert one.answers[2]
    assert not one.is_last
    assert one.state.named_ms == state.named_ms


def test_a_gate_is_gone_two_minutes_after_the_last_write_of_a_process_that_has_it() -> None:
    """Every change by such a process tells the others that it has the gate. A look at it does not change it."""
    state = made(state_of(), take(1), limit=1).state
    assert state.named_ms == NOW_MS
    assert made(state, GRANT, limit=1).is_idle(state)
    waiting = replace(state_of(line("ann", 1)), named_ms=NOW_MS - NAMED_MS)
    assert plan(Gate("g", None, is_gone=True), waiting, [GRANT], NOW_MS).granted == (place(1),)


def test_a_quiet_gate_without_a_limit_loses_its_rows() -> None:
    """A gate with a limit keeps its row."""
    last = state_of(Line("ann", running=1))
    assert made(last, release(1), limit=None).is_last
    assert not made(last, release(1), limit=5).is_last
    assert made(GateState(), GRANT, limit=None).is_last
    assert not made(None, GRANT, limit=None).is_last
    assert not made(CLOSED, GRANT, limit=None).is_last


def test_one_check_a_minute() -> None:
    """The first process that asks gets None. Others are told that it was done."""
    one = made(GateState(), Request(Kind.CHECK, NO_PLACE))
    assert (one.answers, one.state.checked_ms) == ((None,), NOW_MS)
    recent = GateState(checked_ms=NOW_MS - CHECK_MS + 1)
    assert made(recent, Request(Kind.CHECK, NO_PLACE)).answers == (Turn(None, "checked"),)
    assert made(recent, Request(Kind.CHECK, NO_PLACE)).is_idle(recent)


def test_a_response_that_does_not_stay_enters_no_line() -> None:
    """It gets a permit that is free. Else it is told why there is none, and nothing is written."""
    passing = Request(Kind.TAKE, place(1), stays=False)
    assert made(None, passing).answers == (None,)
    full = state_of(line("bob", running=2))
    refused = made(full, passing)
    assert (refused.answers, refused.is_idle(full)) == ((Turn(None, "turn"),), True)


def test_the_probe_of_an_ended_response_is_handed_on() -> None:
    """The next of the line is the probe in the same transaction."""
    state = replace(
        phases.granted(CLOSED, NOW_MS, place(1).id), lines=state_of(line("ann", 2, running=1)).lines, used=1
    )
    after = made(state, release(1), limit=None)
    assert (after.granted, after.state.phase, after.state.probe) == ((place(2),), Phase.PROBING, place(2).id)
