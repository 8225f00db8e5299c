"""What a response waits for: recorded with its alarm, and over with the next progress of its work."""

from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.records import ExecutionMode, Record, RunInfo, WaitInfo
from shared.core.states import Status, WaitReason
from shared.transitions import response_transitions as transitions
from shared.transitions import run_transitions
from shared.transitions.response_transitions import Ending
from shared.transitions.run_transitions import LogPosition, Ownership

ID = f"resp_{'a' * 32}"
WAIT = WaitInfo(WaitReason.UPSTREAM_DOWN, "status 503", 1, 5, 6)
NEW = Record(ID, "ann", created_ms=1, deadline_ms=9_000)
WAITING = replace(NEW, wait=WAIT)
RUN = replace(WAITING, run=RunInfo(mode=ExecutionMode.RUN, epoch=1, claimed=True))
ALARM = Alarm(7, Kind.START, ID)


def started() -> Record:
    """Return a record whose start is recorded."""
    return transitions.record_start(WAITING, Status.QUEUED, "up_1", "up_1", ALARM, b"").record


def ended() -> Record:
    """Return a record that has ended."""
    return transitions.end(WAITING, Ending(Status.COMPLETED, b"answer"), 10, 10).record


def taken_up() -> Record:
    """Return a record whose run has begun work."""
    change, ownership = run_transitions.record_upstream_start(
        RUN, 1, "up_1", Status.QUEUED, 10, is_background=True, live=False
    )
    assert change
    assert ownership is Ownership.OURS
    return change.record


def resumed() -> Record:
    """Return a record whose run has gone on with its work, which changes no status."""
    change, _ = run_transitions.record_resumption(replace(RUN, status=Status.IN_PROGRESS), 1)
    assert change
    return change.record


def read_on() -> Record:
    """Return a record whose run has stored events."""
    return run_transitions.append_events(RUN, (), LogPosition(2, 2, 0), Status.IN_PROGRESS, live=False).record


def polled() -> Record:
    """Return a record whose run is polled from now on."""
    return run_transitions.switch_to_polling(RUN, ALARM).record


@pytest.mark.parametrize("progress", [started, ended, taken_up, resumed, read_on, polled])
def test_progress_of_the_work_ends_the_waiting(progress: object) -> None:
    """So no reader is told of an outage that is over."""
    assert callable(progress)
    assert progress().wait == WaitInfo()
