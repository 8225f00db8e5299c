"""What each step of a response writes: one transaction, decided from the record as it was read."""

from dataclasses import replace

import pytest

from shared.core import event_log
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.blobs import MAX_PACKED, joined
from shared.core.changesets import ChangeSet, Row
from shared.core.event_log import Event
from shared.core.records import INLINE_BODY, ExecutionMode, LogInfo, Record
from shared.core.states import IllegalTransition, Status
from shared.storage import operations
from shared.transitions import response_transitions as transitions
from shared.transitions.response_transitions import DAY_MS, Ending

ID = "resp_0123456789abcdef0123456789abcdef"
BORN_MS = 1_800_000_000_000
NOW_MS = BORN_MS + 5_000
RETENTION_MS = 30 * DAY_MS
NEW = Record(ID, "ann", created_ms=BORN_MS, deadline_ms=BORN_MS + 60_000)
RUNNING = replace(NEW, status=Status.IN_PROGRESS, etag="e1", upstream=replace(NEW.upstream, token="up_1", id="up_1"))
TARGETED = replace(
    RUNNING, request=replace(RUNNING.request, callback_url="https://example.com/hook", reply_to="answers")
)
POLL = Alarm(NOW_MS + 1_000, Kind.POLL, ID, token="up_1")
COMPLETED = Ending(Status.COMPLETED, b"answer")
TERMINAL = [status for status in Status if status.is_terminal]


def ended(record: Record = RUNNING, ending: Ending = COMPLETED) -> ChangeSet:
    """Return the change set that ends a record now."""
    return transitions.end(record, ending, NOW_MS, RETENTION_MS)


def alarms_of(write: ChangeSet, kind: Kind) -> list[Alarm]:
    """Return the alarms of a kind that a change set inserts."""
    return [alarm for alarm in write.alarms_in if alarm.kind is kind]


def test_accepting_inserts_record_request_and_start_alarm() -> None:
    """One change set inserts all three.

    The alarm is the 30 s lease of the process that starts the response. It has the deadline, and counts the first try.
    """
    write = transitions.accept(NEW, b"request", NOW_MS)
    start = Alarm(NOW_MS + 30_000, Kind.START, ID, counted=1, born_ms=BORN_MS, deadline_ms=NEW.deadline_ms)
    assert write == ChangeSet(NEW, alarms_in=(start,), rows=(Row("input|00", {"p0": b"request"}),), writes_body=True)
    assert LEASE_MS[Kind.START] == 30_000
    (shorter,) = transitions.accept(NEW, b"request", NOW_MS, lease_ms=15_000).alarms_in
    assert shorter.due_ms == NOW_MS + 15_000


def test_an_unfinished_status_is_recorded() -> None:
    """An unfinished status that a poll returns is written into the record. Nothing else changes."""
    assert transitions.record_progress(NEW, Status.IN_PROGRESS) == ChangeSet(replace(NEW, status=Status.IN_PROGRESS))


@pytest.mark.parametrize("status", TERMINAL)
def test_only_an_end_writes_a_terminal_status(status: Status) -> None:
    """Recording a start or progress with a terminal status is refused, whatever the upstream reports."""
    with pytest.raises(IllegalTransition):
        transitions.record_start(NEW, status, "up_1", "up_1", POLL, b"")
    with pytest.raises(IllegalTransition):
        transitions.record_progress(NEW, status)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.IN_PROGRESS])
def test_an_end_with_an_unfinished_status_is_refused(status: Status) -> None:
    """A response cannot end with an unfinished status."""
    with pytest.raises(IllegalTransition):
        ended(RUNNING, Ending(status, b""))


def test_the_largest_request_goes_into_numbered_rows() -> None:
    """A request of the largest size is split into rows, and is joined again in the order of their keys."""
    packed = bytes(MAX_PACKED)
    rows = transitions.accept(NEW, packed, NOW_MS).rows
    assert [row.suffix for row in rows] == ["input|00", "input|01", "input|02", "input|03"]
    assert joined(row.properties for row in rows) == packed


def test_a_start_is_recorded_with_its_first_poll() -> None:
    """One change set has the token, the status, the object so far and the first poll alarm.

    A wake-up is sent for the alarm.
    """
    write = transitions.record_start(NEW, Status.IN_PROGRESS, "up_1", "up_1", POLL, b"known")
    assert write.record == replace(
        NEW,
        status=Status.IN_PROGRESS,
        body=b"known",
        body_rows=0,
        upstream=replace(NEW.upstream, token="up_1", id="up_1"),
    )
    assert write.alarms_in == write.wake_for == (POLL,)
    assert write.writes_body
    assert not write.rows


def test_no_wakeup_is_sent_for_the_lease_of_a_watch() -> None:
    """It fires only if the process that watches the response does not move it in time."""
    write = transitions.record_start(NEW, Status.IN_PROGRESS, "up_1", "up_1", POLL, b"known", is_watched=True)
    assert (write.alarms_in, write.wake_for) == ((POLL,), ())


def test_the_lease_of_a_watch_fires_at_the_deadline_at_the_latest() -> None:
    """It is a `poll` alarm whose record was never read, so that it is read first when the lease fires."""
    lease = transitions.watch_lease(NEW, "up_1", NOW_MS, 15_000)
    poll = transitions.poll_alarm(NEW, "up_1", NOW_MS, lambda: 0.0)
    assert lease == replace(poll, due_ms=NOW_MS + 15_000, read_ms=0)
    assert transitions.watch_lease(NEW, "up_1", NOW_MS, 99_000).due_ms == NEW.deadline_ms


def test_an_object_that_is_not_final_gets_no_rows() -> None:
    """The object of an unfinished response is stored only if it fits into the record."""
    large = bytes(INLINE_BODY + 1)
    write = transitions.record_start(NEW, Status.IN_PROGRESS, "up_1", "up_1", POLL, large)
    assert (write.record.body, write.record.body_rows, write.rows) == (large, 0, ())
    assert operations.of_change_set(write, "w")[0][0][1]["body"] == b""


@pytest.mark.parametrize("status", TERMINAL)
def test_an_end_is_one_change_set(status: Status) -> None:
    """For every terminal status, one change set has status, time, output, delivery alarms and purge alarm."""
    write = ended(TARGETED, Ending(status, b"answer"))
    assert (write.record.status, write.record.ended_ms, write.record.body) == (status, NOW_MS, b"answer")
    assert write.writes_body
    assert [(alarm.target, alarm.due_ms) for alarm in alarms_of(write, Kind.DELIVER)] == [
        ("c", NOW_MS + 20_000),
        ("q", NOW_MS + 20_000),
    ]
    assert [alarm.key for alarm in alarms_of(write, Kind.PURGE)] == [write.record.purge_key]


@pytest.mark.parametrize(("store", "kept_ms"), [(True, RETENTION_MS), (False, 600_000)])
def test_a_response_is_purged_after_its_retention(store: bool, kept_ms: int) -> None:
    """A stored response is kept for the configured retention, one that is not stored for ten minutes after its end."""
    (purge,) = alarms_of(ended(replace(RUNNING, request=replace(RUNNING.request, store=store))), Kind.PURGE)
    assert purge.due_ms == NOW_MS + kept_ms


@pytest.mark.parametrize(
    ("size", "rows"), [(0, 0), (INLINE_BODY, 0), (INLINE_BODY + 1, 1), (655_361, 2), (MAX_PACKED, 4)]
)
def test_an_output_is_stored_in_the_record_or_in_rows_beside_it(size: int, rows: int) -> None:
    """An output that fits is stored in the record.

    A larger one gets rows in the same change set, and the record counts them.
    """
    packed = bytes(size)
    write = ended(RUNNING, Ending(Status.COMPLETED, packed))
    assert write.record.body_rows == len(write.rows) == rows
    assert [row.suffix for row in write.rows] == [f"body|{n:02d}" for n in range(rows)]
    assert (joined(row.properties for row in write.rows) if rows else write.record.body) == packed


def test_an_end_from_outside_stops_the_upstream() -> None:
    """An end from outside increases the epoch and sets a stop alarm with the token, due at once and kept for a day."""
    write = ended(RUNNING, Ending(Status.CANCELLED, b"", stop=True))
    (stop,) = alarms_of(write, Kind.STOP)
    assert write.record.run.epoch == RUNNING.run.epoch + 1
    assert write.wake_for == (stop,)
    assert (stop.due_ms, stop.token, stop.deadline_ms) == (NOW_MS, "up_1", NOW_MS + DAY_MS)


@pytest.mark.parametrize(
    ("record", "stop"), [(NEW, True), (RUNNING, False)], ids=["no token to stop", "ended by the upstream"]
)
def test_no_stop_alarm_is_set_without_need(record: Record, stop: bool) -> None:
    """Without a token there is nothing to stop yet. Work that the upstream has ended needs no stop."""
    assert not alarms_of(ended(record, Ending(Status.FAILED, b"", stop=stop)), Kind.STOP)


def test_an_end_may_record_the_upstream_id() -> None:
    """A response that ends with its first answer gets its upstream id from it. Otherwise the known id is kept."""
    assert ended(NEW, Ending(Status.COMPLETED, b"", upstream_id="up_2")).record.upstream.id == "up_2"
    assert ended(RUNNING).record.upstream.id == "up_1"


@pytest.mark.parametrize("status", TERMINAL)
def test_an_ended_response_is_not_ended_or_started_again(status: Status) -> None:
    """The table of states refuses both, so neither gives a change set."""
    over = ended(RUNNING, Ending(status, b"answer")).record
    with pytest.raises(IllegalTransition):
        ended(over)
    with pytest.raises(IllegalTransition):
        transitions.record_start(over, Status.IN_PROGRESS, "up_2", "up_2", POLL, b"")


def test_an_acknowledgement_is_recorded_once() -> None:
    """Once a caller knows the id, the record says so, and the rows must stay."""
    change = transitions.acknowledge(NEW)
    assert change == ChangeSet(replace(NEW, acknowledged=True))
    assert transitions.acknowledge(replace(NEW, acknowledged=True)) is None


def test_the_first_poll_is_due_at_once_if_the_end_is_announced() -> None:
    """If the end is not announced, the first poll waits a tenth of the response's age, and at least a second."""
    announced = replace(NEW, upstream=replace(NEW.upstream, end_announced=True))
    assert transitions.poll_alarm(announced, "up_1", NOW_MS, lambda: 0.0).due_ms == NOW_MS
    assert transitions.poll_alarm(NEW, "up_1", NOW_MS, lambda: 0.0).due_ms == NOW_MS + 1_000
    assert transitions.poll_alarm(NEW, "up_1", NOW_MS, lambda: 0.0, 50_000).due_ms == NOW_MS + 50_000


def test_the_first_poll_does_not_sleep_through_the_deadline() -> None:
    """However rarely an upstream is polled, the first poll is due at the deadline at the latest."""
    assert transitions.poll_alarm(NEW, "up_1", NOW_MS, lambda: 0.9, 60_000).due_ms == NEW.deadline_ms


def test_a_response_may_be_accepted_as_ended() -> None:
    """A response that is accepted as ended keeps its request.

    It gets the delivery and purge alarms of any other end.
    """
    failed = Ending(Status.FAILED, b"why")
    change = transitions.accept_ended(TARGETED, b"request", failed, NOW_MS, RETENTION_MS)
    assert change == replace(ended(TARGETED, failed), rows=(Row("input|00", {"p0": b"request"}),))


def test_a_session_is_stored_in_separate_rows() -> None:
    """The response that continues this one reads the agent's session from these rows."""
    change = ended(RUNNING, replace(COMPLETED, session=b"session"))
    assert (change.rows, change.record.session_rows) == ((Row("legacy|00", {"p0": b"session"}),), 1)


STREAMED = replace(
    RUNNING,
    request=replace(RUNNING.request, stream=True),
    run=replace(RUNNING.run, mode=ExecutionMode.RUN, claimed=True),
    log=LogInfo(next_seq=5, high_water_mark=261, valid_from=2),
)


@pytest.mark.parametrize(("status", "count"), [(Status.COMPLETED, 1), (Status.FAILED, 2)])
def test_the_holder_of_a_run_ends_its_stream_after_the_last_event(status: Status, count: int) -> None:
    """The end of the stream is a row of the same change set. A failure ends with two events."""
    change = ended(STREAMED, Ending(status, b""))
    assert change.rows == (event_log.end_row(5),)
    assert change.record.log == replace(STREAMED.log, next_seq=5 + count)


@pytest.mark.parametrize(
    ("record", "stop"),
    [(STREAMED, True), (replace(STREAMED, run=RUNNING.run), False)],
    ids=["stopped from outside", "polled"],
)
def test_any_other_process_ends_a_stream_above_every_number_that_was_reserved(record: Record, stop: bool) -> None:
    """Readers may have seen events that are not in the log, but none with a number above the high-water mark."""
    change = ended(record, Ending(Status.CANCELLED, b"", stop=stop))
    assert change.rows == (event_log.end_row(261),)
    assert change.record.log == replace(STREAMED.log, next_seq=263)  # an `error`, and the end


def test_synthesized_events_precede_the_end_and_void_all_earlier_ones() -> None:
    """A reader that comes later starts at the first of them. They are numbered above the high-water mark."""
    events = tuple(Event(f"x.{n}", b"{}") for n in range(3))
    change = ended(STREAMED, replace(COMPLETED, synthesized=events))
    assert change.rows == (*event_log.event_rows(261, events), event_log.end_row(264))
    assert change.record.log == replace(STREAMED.log, next_seq=265, valid_from=261)


def test_a_response_that_is_not_streamed_has_no_events() -> None:
    """Its event log stays empty at the end."""
    change = ended(RUNNING, replace(COMPLETED, synthesized=(Event("x.y", b"{}"),)))
    assert (change.rows, change.record.log) == ((), RUNNING.log)
