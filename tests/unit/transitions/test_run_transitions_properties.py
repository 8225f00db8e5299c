"""Runs and their holders: what no sequence of steps can undo."""

from collections.abc import Callable
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import ExecutionMode, LogInfo, Record, RequestInfo
from shared.core.states import IllegalTransition, Status
from shared.lifecycle import endings
from shared.lifecycle.endings import Outcome
from shared.transitions import response_transitions, run_transitions
from shared.transitions.run_transitions import LogPosition
from shared.upstreams.protocol import Progress

ID = "resp_0123456789abcdef0123456789abcdef"
BORN_MS = 1_800_000_000_000
NOW_MS = BORN_MS + 5_000
HOUR_MS = 3_600_000
NEW = Record(
    ID,
    "ann",
    created_ms=BORN_MS,
    deadline_ms=BORN_MS + HOUR_MS,
    request=RequestInfo(store=True, stream=True),
    log=LogInfo(next_seq=1, high_water_mark=1),
)
RUN = replace(
    NEW,
    run=replace(NEW.run, mode=ExecutionMode.RUN, claimed=True, epoch=3, alarm_key="alarm|1", expirations=2),
    upstream=replace(NEW.upstream, token="up_1"),
)

Event = Callable[[Record], ChangeSet | None]
moments = st.integers(BORN_MS, BORN_MS + 2 * HOUR_MS)
flags = st.booleans()
unfinished = st.sampled_from([Status.QUEUED, Status.IN_PROGRESS])
alarms = st.builds(lambda tries, due_ms: Alarm(due_ms, Kind.RUN, ID, tries=tries), st.integers(0, 50), moments)
outcomes = st.one_of(
    st.builds(endings.cancelled, moments),
    st.builds(endings.deadline_exceeded, moments),
    st.builds(endings.by_failure, st.just("upstream_lost"), st.text(max_size=3), moments),
    st.builds(
        endings.by_progress, st.builds(Progress, st.sampled_from(Status), st.none(), st.just({"output": []})), moments,
        synthesize=flags,
    ),
)  # fmt: skip


def end(record: Record, outcome: Outcome, now_ms: int) -> ChangeSet:
    """Return the change set that ends a record with an outcome."""
    return response_transitions.end(record, endings.ending_of(record, outcome), now_ms, HOUR_MS)


def logs(ahead: int, upstream_next: int, status: Status, live: bool) -> Event:
    """Return the event that this number of stream events is appended to the log."""
    return lambda record: run_transitions.append_events(
        record, (), LogPosition(record.log.next_seq + ahead, upstream_next, record.log.valid_from), status, live=live
    )


def begins(epoch_back: int, token: str, status: Status, replays: bool, live: bool) -> Event:
    """Return the event that a holder, perhaps of an older epoch, learns an upstream id."""
    return lambda record: run_transitions.record_upstream_start(
        record, record.run.epoch - epoch_back, token, status, NOW_MS, is_background=replays, live=live
    )[0]


def saves(saved: int, token: str | None) -> Event:
    """Return the event that a holder saves its next checkpoint after this number of others."""
    return lambda record: run_transitions.save_checkpoint(record, saved, b"packed", token)


events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        lambda held, now, lapsed: lambda record: run_transitions.offer(record, held, now, expired=lapsed),
        alarms, moments, flags,
    ),
    st.builds(lambda due, now: lambda record: run_transitions.release(record, due, now), moments, moments),
    st.builds(lambda now: lambda record: run_transitions.claim_run(record, now), moments),
    st.builds(begins, st.integers(0, 1), st.sampled_from(["up_1", "up_2"]), unfinished, flags, flags),
    st.builds(
        lambda back: lambda record: run_transitions.record_resumption(record, record.run.epoch - back)[0],
        st.integers(0, 1),
    ),
    st.builds(saves, st.integers(0, 3), st.none() | st.sampled_from(["up_1", "up_2"])),
    st.builds(logs, st.integers(0, 400), st.integers(0, 400), unfinished, flags),
    st.builds(lambda poll: lambda record: run_transitions.switch_to_polling(record, poll), alarms),
    st.builds(lambda outcome, now: lambda record: end(record, outcome, now), outcomes, moments),
)  # fmt: skip


def last_number(write: ChangeSet) -> int:
    """Return the number of the row that ends a stream."""
    return max(int(row.suffix.split("|")[1]) for row in write.rows if row.properties.get("ends"))


@settings(deadline=None)
@given(st.lists(events, max_size=15), st.sampled_from([NEW, RUN, replace(RUN, run=replace(RUN.run, claimed=False))]))
def test_epoch_and_numbers_only_grow(course: list[Event], record: Record) -> None:
    """In any sequence of events, the epoch and the sequence numbers never decrease.

    An end from outside is numbered above every event that may have been sent.
    """
    for event in course:
        if record.status.is_terminal and event is not None:
            record_is_final(event, record)
            continue
        try:
            write = event(record)
        except IllegalTransition:
            continue
        if write is None:
            continue
        after = write.record
        assert after.run.epoch >= record.run.epoch
        assert after.log.next_seq >= record.log.next_seq
        assert after.log.high_water_mark >= record.log.high_water_mark
        if after.status.is_terminal:
            from_outside = record.run.mode == "poll" or after.run.epoch > record.run.epoch
            assert last_number(write) >= (record.log.high_water_mark if from_outside else record.log.next_seq)
            assert after.log.next_seq > last_number(write)
        else:
            assert after.log.high_water_mark >= after.log.next_seq
        record = after


def record_is_final(event: Event, record: Record) -> None:
    """Fail if an event changes the status, the output or the last number of an ended response."""
    try:
        write = event(record)
    except IllegalTransition:
        return
    after = write.record if write else record
    assert (after.status, after.body, after.log.next_seq) == (record.status, record.body, record.log.next_seq)
