"""Who drives a run: what each step writes, and what no course of steps can undo."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core import response_transitions, run_transitions
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.records import ExecutionMode, LogInfo, Record, RequestInfo
from shared.core.run_transitions import RESERVED_BLOCK, LogPosition, Ownership
from shared.core.states import IllegalTransition, Status
from shared.lifecycle import endings
from shared.lifecycle.endings import Outcome
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
HELD = Alarm(NOW_MS, Kind.RUN, ID, epoch=3)


def run_alarm(write: ChangeSet) -> Alarm:
    """Return the one alarm that a write inserts, which the record must name."""
    (alarm,) = write.alarms_in
    assert (alarm.kind, alarm.epoch, alarm.key) == (Kind.RUN, write.record.run.epoch, write.record.run.alarm_key)
    return alarm


@pytest.mark.parametrize(("held", "due_s"), [(True, 30), (False, 60)])
def test_a_run_is_accepted_held_or_offered(held: bool, due_s: int) -> None:
    """Its alarm replaces the start alarm: a lease of 30 s, or a minute for somebody to claim it."""
    write = run_transitions.accept_run(response_transitions.accept(NEW, b"request", BORN_MS), BORN_MS, held=held)
    assert run_alarm(write).due_ms == BORN_MS + due_s * 1_000
    assert (write.record.run.mode, write.record.run.claimed, write.offers_run) == ("run", held, not held)
    assert write.record.acknowledged is not held


def test_a_run_whose_lease_has_lapsed_is_offered_for_the_next_epoch() -> None:
    """Whoever held it has lost; its death counts."""
    write = run_transitions.offer(RUN, HELD, NOW_MS, expired=True)
    after = write.record
    assert (after.run.epoch, after.run.claimed, after.run.expirations, write.offers_run) == (4, False, 3, True)
    assert run_alarm(write).due_ms == NOW_MS + 60_000


def test_a_hand_over_is_no_death() -> None:
    """The next epoch, and nothing is counted."""
    after = run_transitions.offer(RUN, HELD, NOW_MS).record
    assert (after.run.epoch, after.run.claimed, after.run.expirations) == (4, False, 2)


@pytest.mark.parametrize(("tries", "minutes"), [(0, 2), (1, 4), (2, 8), (3, 15), (4, 15), (99, 15)])
def test_an_offer_that_nobody_claims_is_repeated_ever_more_rarely(tries: int, minutes: int) -> None:
    """The epoch stays: nobody has held it."""
    write = run_transitions.offer(
        replace(RUN, run=replace(RUN.run, claimed=False)), replace(HELD, tries=tries), NOW_MS, expired=True
    )
    assert (write.record.run.epoch, write.record.run.expirations) == (3, 2)
    assert run_alarm(write).due_ms == NOW_MS + minutes * 60_000


def test_no_alarm_sleeps_through_the_deadline() -> None:
    """Neither a repeated offer nor a run that waits for its upstream; past it a second is the least."""
    short = replace(RUN, deadline_ms=NOW_MS + 10_000)
    assert run_alarm(run_transitions.offer(short, HELD, NOW_MS)).due_ms == NOW_MS + 10_000
    assert run_alarm(run_transitions.release(short, NOW_MS + 60_000, NOW_MS)).due_ms == NOW_MS + 10_000
    late = replace(RUN, deadline_ms=NOW_MS - 1)
    assert run_alarm(run_transitions.release(late, NOW_MS + 60_000, NOW_MS)).due_ms == NOW_MS + 1_000


def test_a_run_is_claimed_with_its_alarm() -> None:
    """Two messages for one epoch take out the same alarm: one of them fails."""
    write = run_transitions.claim_run(replace(RUN, run=replace(RUN.run, claimed=False)), NOW_MS)
    assert write.alarms_out == ("alarm|1",)
    assert write.record.run.claimed
    assert run_alarm(write).due_ms == NOW_MS + 30_000


# What the upstream calls the work


def begun(record: Record, token: str, *, epoch: int = 3, replays: bool = True) -> tuple[ChangeSet | None, Ownership]:
    """Return what it means that the upstream has taken work up."""
    return run_transitions.record_upstream_start(
        record, epoch, token, Status.IN_PROGRESS, NOW_MS, is_background=replays, live=True
    )


def test_the_first_name_is_noted_with_numbers_for_the_live_reader() -> None:
    """Token, status, a counted start and a block of numbers in one write."""
    write, whose = begun(replace(RUN, upstream=replace(RUN.upstream, token=None)), "up_1")
    assert (write is not None, whose) == (True, Ownership.OURS)
    after = write.record if write else RUN
    assert (after.upstream.token, after.upstream.id, after.upstream.starts) == ("up_1", "up_1", 1)
    assert (after.status, after.log.high_water_mark) == (Status.IN_PROGRESS, 1 + RESERVED_BLOCK)


def test_the_same_name_again_changes_nothing() -> None:
    """A repeated key has found the same work."""
    assert begun(RUN, "up_1") == (None, Ownership.OURS)


def test_another_name_is_stopped() -> None:
    """The upstream ignored the key: the first work is ours, the second is nobody's."""
    write, whose = begun(RUN, "up_2")
    assert whose is Ownership.OTHERS
    assert write is not None
    assert (write.alarms_in[0].kind, write.alarms_in[0].token) == (Kind.STOP, "up_2")
    assert write.record.upstream.token == "up_1"


@pytest.mark.parametrize("lost", [replace(RUN, run=replace(RUN.run, epoch=4)), replace(RUN, status=Status.CANCELLED)])
def test_a_name_learned_too_late_is_kept_for_whoever_needs_it(lost: Record) -> None:
    """The next holder follows that work; where the response has ended it is stopped."""
    record = replace(lost, upstream=replace(lost.upstream, token=None))
    write, whose = begun(record, "up_1")
    assert whose is Ownership.LOST
    assert write is not None
    assert write.record.upstream.token == "up_1"
    assert [alarm.kind for alarm in write.alarms_in] == [Kind.STOP] * record.status.is_terminal


def test_without_background_mode_every_start_counts() -> None:
    """Each is a new piece of work, and the last name is the one to ask for; one that comes too late ends by itself."""
    write, whose = begun(replace(RUN, upstream=replace(RUN.upstream, starts=1)), "up_2", replays=False)
    assert whose is Ownership.OURS
    assert write is not None
    assert (write.record.upstream.token, write.record.upstream.starts) == ("up_2", 2)
    assert begun(replace(RUN, run=replace(RUN.run, epoch=4)), "up_2", replays=False) == (None, Ownership.LOST)


# The log


@pytest.mark.parametrize(
    ("upto", "live", "reserved"),
    [(5, True, 257), (129, True, 257), (130, True, 130 + 256), (600, True, 856), (5, False, 257), (600, False, 600)],
)
def test_half_a_block_stays_reserved_for_a_live_reader(upto: int, live: bool, reserved: int) -> None:
    """It rarely waits for a number; without one nothing above the log is reserved, and nothing is given back."""
    record = replace(RUN, log=replace(RUN.log, high_water_mark=257))
    write = run_transitions.append_events(record, (), LogPosition(upto, 40, 0), Status.IN_PROGRESS, live=live)
    after = write.record
    assert (after.log.next_seq, after.log.upstream_next, after.log.high_water_mark, after.run.expirations) == (
        upto,
        40,
        reserved,
        0,
    )


def test_a_run_that_is_polled_from_now_on_has_no_holder() -> None:
    """The next epoch, no run alarm, a poll alarm that a sweep is asked for."""
    poll = Alarm(NOW_MS + 1_000, Kind.POLL, ID, token="up_1")
    write = run_transitions.switch_to_polling(RUN, poll)
    after = write.record
    assert (after.run.mode, after.run.epoch, after.run.claimed, after.run.alarm_key) == ("poll", 4, False, "")
    assert (write.alarms_in, write.wake_for) == ((poll,), (poll,))


# Any course

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
    """Return what ends a record with an outcome."""
    return response_transitions.end(record, endings.ending_of(record, outcome), now_ms, HOUR_MS)


def logs(ahead: int, upstream_next: int, status: Status, live: bool) -> Event:
    """Return the event that so many events are logged."""
    return lambda record: run_transitions.append_events(
        record, (), LogPosition(record.log.next_seq + ahead, upstream_next, record.log.valid_from), status, live=live
    )


def begins(epoch_back: int, token: str, status: Status, replays: bool, live: bool) -> Event:
    """Return the event that a holder, perhaps an older one, learns a name."""
    return lambda record: run_transitions.record_upstream_start(
        record, record.run.epoch - epoch_back, token, status, NOW_MS, is_background=replays, live=live
    )[0]


events: st.SearchStrategy[Event] = st.one_of(
    st.builds(
        lambda held, now, lapsed: lambda record: run_transitions.offer(record, held, now, expired=lapsed),
        alarms, moments, flags,
    ),
    st.builds(lambda due, now: lambda record: run_transitions.release(record, due, now), moments, moments),
    st.builds(lambda now: lambda record: run_transitions.claim_run(record, now), moments),
    st.builds(begins, st.integers(0, 1), st.sampled_from(["up_1", "up_2"]), unfinished, flags, flags),
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
    """Whatever happens in whatever order; nobody ends above the log but below what may have been sent."""
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
    """Fail if an event changes the status, the output or the last number of what has ended."""
    try:
        write = event(record)
    except IllegalTransition:
        return
    after = write.record if write else record
    assert (after.status, after.body, after.log.next_seq) == (record.status, record.body, record.log.next_seq)
