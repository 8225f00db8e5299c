"""Runs and their holders: what each step writes."""

from dataclasses import replace
from typing import Any

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.blobs import joined
from shared.core.changesets import ChangeSet
from shared.core.records import ExecutionMode, LogInfo, Record, RequestInfo
from shared.core.states import Status
from shared.transitions import response_transitions, run_transitions
from shared.transitions.run_transitions import RESERVED_BLOCK, LogPosition, Ownership

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
    """Return the only alarm that a change set inserts. The record must have its key."""
    (alarm,) = write.alarms_in
    assert (alarm.kind, alarm.epoch, alarm.key) == (Kind.RUN, write.record.run.epoch, write.record.run.alarm_key)
    return alarm


@pytest.mark.parametrize(("held_ms", "due_s"), [(30_000, 30), (15_000, 15), (0, 60)])
def test_a_run_is_accepted_held_or_offered(held_ms: int, due_s: int) -> None:
    """The run alarm replaces the start alarm.

    It is a lease of the holder, or gives other processes a minute to claim the run.
    """
    held = held_ms > 0
    background = replace(NEW, request=replace(NEW.request, background=True))
    accepting = response_transitions.accept(background, b"request", BORN_MS)
    write = run_transitions.accept_run(accepting, BORN_MS, held_ms)
    assert run_alarm(write).due_ms == BORN_MS + due_s * 1_000
    assert (write.record.run.mode, write.record.run.claimed, write.offers_run) == ("run", held, not held)
    assert write.record.acknowledged is not held
    assert write.record.upstream.counted == int(held)


def test_a_lease_is_shorter_where_a_takeover_costs_nothing() -> None:
    """A lease lasts 30 s, and 15 s if the upstream replays its events."""
    assert [run_transitions.lease_ms(replays=replays) for replays in (False, True)] == [30_000, 15_000]


def test_a_call_that_waits_for_its_run_does_not_know_it_yet() -> None:
    """A foreground caller learns the id with the answer. One that knows it already stays known."""
    for known in (False, True):
        accepting = response_transitions.accept(replace(NEW, acknowledged=known), b"request", BORN_MS)
        assert run_transitions.accept_run(accepting, BORN_MS).record.acknowledged is known


# Tries


def counted(count: int, **upstream: Any) -> Record:
    """Return a run that is offered, with this number of counted tries."""
    run = replace(NEW.run, mode=ExecutionMode.RUN)
    return replace(NEW, run=run, upstream=replace(NEW.upstream, counted=count, **upstream))


@pytest.mark.parametrize(
    ("begun", "expected"),
    [({}, 3), ({"starts": 1}, 2), ({"token": "up_1"}, 2), ({"has_checkpoint": True}, 2)],
    ids=["new", "started", "named", "saved"],
)
def test_a_claim_counts_the_first_try_only(begun: dict[str, Any], expected: int) -> None:
    """A claim of work that has never begun counts the try that follows. Work that goes on needs no try."""
    assert run_transitions.claim_run(counted(2, **begun), NOW_MS).record.upstream.counted == expected


def test_a_try_is_counted_before_it_is_made_and_taken_back_if_it_was_not() -> None:
    """A holder counts before it asks. A release or an offer takes back a try that began nothing, never below zero."""
    held = replace(RUN, upstream=replace(RUN.upstream, counted=1))
    assert run_transitions.count_try(held).record.upstream.counted == 2
    for before, after in ((2, 1), (0, 0)):
        run = replace(RUN, upstream=replace(RUN.upstream, counted=before))
        released = run_transitions.release(run, NOW_MS, NOW_MS, takes_back=True)
        offered = run_transitions.offer(run, HELD, NOW_MS, takes_back=True)
        assert (released.record.upstream.counted, offered.record.upstream.counted) == (after, after)
        assert run_transitions.release(run, NOW_MS, NOW_MS).record.upstream.counted == before


def test_work_that_is_accepted_takes_its_try_back() -> None:
    """A try that succeeded is counted in `starts`, so it does not count as one that may have begun unknown work."""
    change, _ = run_transitions.record_upstream_start(
        counted(2), 1, "up_1", Status.IN_PROGRESS, NOW_MS, is_background=False, live=False
    )
    assert change
    assert (change.record.upstream.counted, change.record.upstream.starts) == (1, 1)


def test_a_run_whose_lease_has_expired_is_offered_in_the_next_epoch() -> None:
    """The previous holder has lost the run, and the record counts the expiration."""
    write = run_transitions.offer(RUN, HELD, NOW_MS, expired=True)
    after = write.record
    assert (after.run.epoch, after.run.claimed, after.run.expirations, write.offers_run) == (4, False, 3, True)
    assert run_alarm(write).due_ms == NOW_MS + 60_000


def test_a_hand_over_is_not_counted_as_an_expiration() -> None:
    """A hand-over increases the epoch, but not the number of expirations."""
    after = run_transitions.offer(RUN, HELD, NOW_MS).record
    assert (after.run.epoch, after.run.claimed, after.run.expirations) == (4, False, 2)


@pytest.mark.parametrize(("tries", "minutes"), [(0, 2), (1, 4), (2, 8), (3, 15), (4, 15), (99, 15)])
def test_an_offer_that_is_not_claimed_is_repeated_with_growing_waits(tries: int, minutes: int) -> None:
    """A repeated offer has the same epoch, because no process has held the run in it."""
    write = run_transitions.offer(
        replace(RUN, run=replace(RUN.run, claimed=False)), replace(HELD, tries=tries), NOW_MS, expired=True
    )
    assert (write.record.run.epoch, write.record.run.expirations) == (3, 2)
    assert run_alarm(write).due_ms == NOW_MS + minutes * 60_000


def test_no_alarm_is_due_after_the_deadline() -> None:
    """A repeated offer and a run that waits for its upstream are due by the deadline.

    After the deadline the wait is a second.
    """
    short = replace(RUN, deadline_ms=NOW_MS + 10_000)
    assert run_alarm(run_transitions.offer(short, HELD, NOW_MS)).due_ms == NOW_MS + 10_000
    assert run_alarm(run_transitions.release(short, NOW_MS + 60_000, NOW_MS)).due_ms == NOW_MS + 10_000
    late = replace(RUN, deadline_ms=NOW_MS - 1)
    assert run_alarm(run_transitions.release(late, NOW_MS + 60_000, NOW_MS)).due_ms == NOW_MS + 1_000


def test_a_claim_replaces_the_alarm_of_the_offer() -> None:
    """Two claims of the same epoch remove the same alarm, so one of them fails."""
    write = run_transitions.claim_run(replace(RUN, run=replace(RUN.run, claimed=False)), NOW_MS)
    assert write.alarms_out == ("alarm|1",)
    assert write.record.run.claimed
    assert run_alarm(write).due_ms == NOW_MS + 30_000


# Upstream ids


def begun(record: Record, token: str, *, epoch: int = 3, replays: bool = True) -> tuple[ChangeSet | None, Ownership]:
    """Return the result of recording that the upstream has accepted the work."""
    return run_transitions.record_upstream_start(
        record, epoch, token, Status.IN_PROGRESS, NOW_MS, is_background=replays, live=True
    )


def test_the_first_upstream_id_is_recorded_with_a_block_of_numbers() -> None:
    """One change set has the token, the status, a counted start, and reserved sequence numbers for the live reader."""
    write, whose = begun(replace(RUN, upstream=replace(RUN.upstream, token=None)), "up_1")
    assert (write is not None, whose) == (True, Ownership.OURS)
    after = write.record if write else RUN
    assert (after.upstream.token, after.upstream.id, after.upstream.starts) == ("up_1", "up_1", 1)
    assert (after.status, after.log.high_water_mark) == (Status.IN_PROGRESS, 1 + RESERVED_BLOCK)


def test_the_same_upstream_id_again_changes_nothing() -> None:
    """The same upstream id means that a repeated idempotency key has found the same work."""
    assert begun(RUN, "up_1") == (None, Ownership.OURS)


def test_work_with_another_upstream_id_is_stopped() -> None:
    """Another id means that the upstream ignored the idempotency key. The response keeps the first work."""
    write, whose = begun(RUN, "up_2")
    assert whose is Ownership.OTHERS
    assert write is not None
    assert (write.alarms_in[0].kind, write.alarms_in[0].token) == (Kind.STOP, "up_2")
    assert write.record.upstream.token == "up_1"


@pytest.mark.parametrize("lost", [replace(RUN, run=replace(RUN.run, epoch=4)), replace(RUN, status=Status.CANCELLED)])
def test_an_upstream_id_that_is_learned_late_is_kept(lost: Record) -> None:
    """The next holder follows the work with that id. If the response has ended, the work is stopped."""
    record = replace(lost, upstream=replace(lost.upstream, token=None))
    write, whose = begun(record, "up_1")
    assert whose is Ownership.LOST
    assert write is not None
    assert write.record.upstream.token == "up_1"
    assert [alarm.kind for alarm in write.alarms_in] == [Kind.STOP] * record.status.is_terminal


def test_a_late_start_without_an_id_changes_nothing() -> None:
    """If an upstream gives no id, there is nothing to keep and nothing to stop."""
    lost = replace(RUN, upstream=replace(RUN.upstream, token=None), status=Status.CANCELLED)
    assert run_transitions.record_upstream_start(
        lost, 3, None, Status.IN_PROGRESS, NOW_MS, is_background=True, live=True
    ) == (None, Ownership.LOST)


def test_without_background_mode_every_start_counts() -> None:
    """Each start is new work, and the last upstream id is kept.

    A start that is learned too late changes nothing, because such work needs no stop.
    """
    write, whose = begun(replace(RUN, upstream=replace(RUN.upstream, starts=1)), "up_2", replays=False)
    assert whose is Ownership.OURS
    assert write is not None
    assert (write.record.upstream.token, write.record.upstream.starts) == ("up_2", 2)
    assert begun(replace(RUN, run=replace(RUN.run, epoch=4)), "up_2", replays=False) == (None, Ownership.LOST)


def test_a_resumption_is_not_a_start() -> None:
    """A holder that resumes work under way keeps its token and its number of starts. Only the status may change."""
    progressed = replace(RUN, status=Status.IN_PROGRESS)
    assert run_transitions.record_resumption(RUN, 3) == (ChangeSet(progressed), Ownership.OURS)
    assert run_transitions.record_resumption(progressed, 3) == (None, Ownership.OURS)


@pytest.mark.parametrize("lost", [replace(RUN, run=replace(RUN.run, epoch=4)), replace(RUN, status=Status.CANCELLED)])
def test_a_process_that_has_lost_the_run_does_not_resume_it(lost: Record) -> None:
    """In a later epoch, and after the end of the response, a resumption changes nothing."""
    assert run_transitions.record_resumption(lost, 3) == (None, Ownership.LOST)


# Checkpoints


def test_a_checkpoint_is_saved_in_numbered_rows() -> None:
    """One change set has the parts of the checkpoint and counts it. Progress resets the number of expirations."""
    packed = bytes(range(256)) * 2_561  # one row holds 2,560 of them
    record = replace(RUN, upstream=replace(RUN.upstream, checkpoints=7))
    write = run_transitions.save_checkpoint(record, 7, packed, None)
    assert write is not None
    assert [row.suffix for row in write.rows] == ["memo|000007|00", "memo|000007|01"]
    assert joined(row.properties for row in write.rows) == packed
    expected = replace(record, upstream=replace(record.upstream, checkpoints=8), run=replace(RUN.run, expirations=0))
    assert write.record == expected


def test_a_checkpoint_that_is_saved_already_is_not_saved_again() -> None:
    """If the answer to a write was lost, the write is repeated, and the repeat changes nothing."""
    write = run_transitions.save_checkpoint(RUN, 0, b"packed", "up_2")
    assert write is not None
    assert run_transitions.save_checkpoint(write.record, 0, b"packed", "up_2") is None


def test_a_checkpoint_may_name_the_work_that_goes_on() -> None:
    """From then on its token stops the work, and a new holder resumes instead of starting.

    Later checkpoints without a token do not change that.
    """
    first = run_transitions.save_checkpoint(RUN, 0, b"packed", "up_2")
    assert first is not None
    assert (first.record.upstream.token, first.record.upstream.has_checkpoint) == ("up_2", True)
    second = run_transitions.save_checkpoint(first.record, 1, b"packed", None)
    assert second is not None
    assert second.record.upstream == replace(first.record.upstream, checkpoints=2)
    assert not RUN.upstream.has_checkpoint


# The event log


@pytest.mark.parametrize(
    ("upto", "live", "reserved"),
    [(5, True, 257), (129, True, 257), (130, True, 130 + 256), (600, True, 856), (5, False, 257), (600, False, 600)],
)
def test_half_a_block_stays_reserved_for_a_live_reader(upto: int, live: bool, reserved: int) -> None:
    """A live reader rarely waits for a number.

    Without a live reader no numbers above the log are reserved. The high-water mark never decreases.
    """
    record = replace(RUN, log=replace(RUN.log, high_water_mark=257))
    write = run_transitions.append_events(record, (), LogPosition(upto, 40, 0), Status.IN_PROGRESS, live=live)
    after = write.record
    assert (after.log.next_seq, after.log.upstream_next, after.log.high_water_mark, after.run.expirations) == (
        upto,
        40,
        reserved,
        0,
    )


def test_a_run_that_switches_to_polling_has_no_holder() -> None:
    """A switch to polling increases the epoch and sets a poll alarm instead of a run alarm.

    A wake-up is sent for it.
    """
    poll = Alarm(NOW_MS + 1_000, Kind.POLL, ID, token="up_1")
    write = run_transitions.switch_to_polling(RUN, poll)
    after = write.record
    assert (after.run.mode, after.run.epoch, after.run.claimed, after.run.alarm_key) == ("poll", 4, False, "")
    assert (write.alarms_in, write.wake_for) == ((poll,), (poll,))
