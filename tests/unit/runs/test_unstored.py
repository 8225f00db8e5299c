"""What a run has to write: its start with its first events, and only if the work is its own."""

from dataclasses import replace

from shared.core.changesets import ChangeSet
from shared.core.event_log import Event
from shared.core.records import ExecutionMode, LogInfo, Record, RequestInfo
from shared.core.states import Status
from shared.runs.unstored import Beginning, Unstored
from shared.transitions import run_transitions
from shared.transitions.run_transitions import LogPosition, Ownership

EVENTS = (Event("a", b"{}"), Event("b", b"{}"))
NEW = Record(
    f"resp_{'a' * 32}",
    "ann",
    created_ms=1,
    deadline_ms=2,
    request=RequestInfo(store=True, stream=True),
    log=LogInfo(next_seq=1, high_water_mark=1),
)
LOGGED = replace(NEW, run=replace(NEW.run, mode=ExecutionMode.RUN, claimed=True))


def started(current: Record, token: str = "up_0", epoch: int = 1) -> tuple[ChangeSet | None, Ownership]:
    """Record that a background upstream has accepted work."""
    return run_transitions.record_upstream_start(
        current, epoch, token, Status.QUEUED, 1, is_background=True, live=False
    )


def unstored(
    events: tuple[Event, ...] = EVENTS, status: Status = Status.IN_PROGRESS, *, begins: bool = True
) -> Unstored:
    """Return events after the first one of a log, with the start of their work or without it."""
    position = LogPosition(1 + len(events), 7, 0)
    return Unstored(1, events, 4, position, status, Beginning(started, lambda _: None) if begins else None)


def test_a_start_and_its_first_events_are_one_change() -> None:
    """The change records the token of the work and stores the events, with the status that they tell."""
    change, ownership = unstored().begin(LOGGED, live=False)
    assert (change is not None, ownership) == (True, Ownership.OURS)
    assert change
    assert (change.record.upstream.token, change.record.upstream.starts) == ("up_0", 1)
    assert (change.record.log.next_seq, change.record.status, len(change.rows)) == (3, Status.IN_PROGRESS, 1)


def test_a_start_without_events_changes_no_log() -> None:
    """A start alone is no progress, so it does not set back how often the lease has expired."""
    tried = replace(LOGGED, run=replace(LOGGED.run, expirations=3))
    change, _ = unstored((), Status.QUEUED).begin(tried, live=False)
    assert change
    assert (change.record.run.expirations, change.rows, change.record.log) == (3, (), LOGGED.log)


def test_events_of_work_that_is_not_ours_are_not_stored() -> None:
    """If the response has other work, or the run is lost, only the stop of the work is written."""
    other = replace(LOGGED, upstream=replace(LOGGED.upstream, token="up_1"))
    change, ownership = unstored().begin(other, live=False)
    assert change
    assert (change.rows, change.record.log, ownership) == ((), LOGGED.log, Ownership.OTHERS)
    lost = replace(LOGGED, run=replace(LOGGED.run, epoch=2))
    change, ownership = unstored().begin(lost, live=False)
    assert change
    assert (change.rows, change.record.log, ownership) == ((), LOGGED.log, Ownership.LOST)


def test_what_is_stored_already_is_not_stored_again() -> None:
    """If the answer to a write was lost, its repeat stores no row and counts no second start."""
    first, _ = unstored().begin(LOGGED, live=False)
    assert first
    again, ownership = unstored().begin(first.record, live=False)
    assert again
    assert (again.rows, again.record.upstream.starts, ownership) == ((), 1, Ownership.OURS)


def test_the_end_takes_the_events_and_the_start_with_it() -> None:
    """What belongs to an end is the change of the events, with the start if that is not recorded either."""
    for begins in (True, False):
        change = unstored(begins=begins).add_to(LOGGED)
        assert change
        assert (change.record.log.next_seq, len(change.rows)) == (3, 1)
        assert change.record.upstream.token == ("up_0" if begins else None)
