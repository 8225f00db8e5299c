"""Runs that wait for their turn: a `start` alarm stands in place of the `run` alarm until there is a permit."""

from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.records import ExecutionMode, Record, RequestInfo, RunInfo, UpstreamInfo, WaitInfo
from shared.core.states import RunState, WaitReason
from shared.transitions import response_transitions
from shared.transitions import run_transitions as transitions

NOW_MS = 1_800_000_000_000
NEW = Record(f"resp_{'a' * 32}", "ann", NOW_MS, NOW_MS + 90_000, request=RequestInfo(background=True, stream=True))
WAIT = WaitInfo(WaitReason.TURN, place=3)
START = Alarm(NEW.deadline_ms, Kind.START, NEW.id)
HELD = replace(
    NEW,
    run=RunInfo(ExecutionMode.RUN, epoch=4, claimed=True, alarm_key="alarm|x"),
    upstream=UpstreamInfo(counted=2, starts=1, presumed=True),
)


def test_a_run_that_needs_a_permit_has_a_start_alarm() -> None:
    """Nothing is offered, and its caller knows nothing of it yet."""
    change = transitions.accept_waiting_run(response_transitions.accept(NEW, b"request", NOW_MS))
    (alarm,) = change.alarms_in
    assert (alarm.kind, change.offers_run, change.record.acknowledged) == (Kind.START, False, False)
    assert (change.record.run.mode, change.record.run.state) == (ExecutionMode.RUN, RunState.OFFERED)


@pytest.mark.parametrize("takes_back", [True, False])
def test_a_run_goes_into_the_line(takes_back: bool) -> None:
    """Its holder has lost it, so nobody with the old epoch writes any more. A try that began nothing does not count."""
    change = transitions.wait_in_line(HELD, WAIT, START, takes_back=takes_back)
    now = change.record
    assert (now.run.epoch, now.run.claimed, now.run.alarm_key) == (5, False, "")
    assert (now.wait, now.acknowledged, change.alarms_in, change.offers_run) == (WAIT, True, (START,), False)
    expected = (1, 0, False) if takes_back else (2, 1, True)
    assert (now.upstream.counted, now.upstream.starts, now.upstream.presumed) == expected


def test_a_run_that_has_its_turn_is_offered() -> None:
    """It waits for nothing any more, and tries that may have begun work still count."""
    waiting = transitions.wait_in_line(HELD, WAIT, START, takes_back=True).record
    change = transitions.offer_first(waiting, NOW_MS)
    (alarm,) = change.alarms_in
    assert (alarm.kind, alarm.epoch, change.offers_run) == (Kind.RUN, 5, True)
    assert (change.record.run.alarm_key, change.record.wait) == (alarm.key, WaitInfo())
    assert change.record.upstream.counted == 1


def test_a_run_with_a_permit_begins_as_one_that_needs_none() -> None:
    """Its `run` alarm stands in place of the `start` alarm."""
    accepted = transitions.accept_waiting_run(response_transitions.accept(NEW, b"request", NOW_MS)).record
    change = transitions.begin_run(accepted, NOW_MS, 30_000)
    (alarm,) = change.alarms_in
    assert (alarm.kind, alarm.due_ms, change.rows) == (Kind.RUN, NOW_MS + 30_000, ())
    assert (change.record.run.claimed, change.record.upstream.counted) == (True, 1)
    assert transitions.begin_run(accepted, NOW_MS).offers_run
