"""What each step writes: one transaction, decided from the record as it was read."""

from dataclasses import replace

import pytest

from shared.core import response_transitions as transitions
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.blobs import MAX_PACKED, joined
from shared.core.changesets import ChangeSet, Row
from shared.core.records import INLINE_BODY, Delivery, Record, Target
from shared.core.response_transitions import DAY_MS, Ending
from shared.core.states import IllegalTransition, Status
from shared.storage import operations

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
    """Return the write that ends a record now."""
    return transitions.end(record, ending, NOW_MS, RETENTION_MS)


def alarms_of(write: ChangeSet, kind: Kind) -> list[Alarm]:
    """Return the alarms of a kind that a write inserts."""
    return [alarm for alarm in write.alarms_in if alarm.kind is kind]


def test_accepting_inserts_record_request_and_start_alarm() -> None:
    """One write holds all three; the alarm is the starter's lease of 30 s and knows the deadline."""
    write = transitions.accept(NEW, b"request", NOW_MS)
    start = Alarm(NOW_MS + 30_000, Kind.START, ID, born_ms=BORN_MS, deadline_ms=NEW.deadline_ms)
    assert write == ChangeSet(NEW, alarms_in=(start,), rows=(Row("input|00", {"p0": b"request"}),), writes_body=True)
    assert LEASE_MS[Kind.START] == 30_000


def test_an_unfinished_status_is_noted() -> None:
    """What a poll shows of unfinished work is written into the record, and nothing beside it."""
    assert transitions.record_progress(NEW, Status.IN_PROGRESS) == ChangeSet(replace(NEW, status=Status.IN_PROGRESS))


@pytest.mark.parametrize("status", TERMINAL)
def test_only_an_end_is_terminal(status: Status) -> None:
    """Whatever an upstream makes of its words, neither a start nor a note leaves a terminal status without its end."""
    with pytest.raises(IllegalTransition):
        transitions.record_start(NEW, status, "up_1", "up_1", POLL, b"")
    with pytest.raises(IllegalTransition):
        transitions.record_progress(NEW, status)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.IN_PROGRESS])
def test_an_end_is_terminal(status: Status) -> None:
    """Nothing ends as unfinished."""
    with pytest.raises(IllegalTransition):
        ended(RUNNING, Ending(status, b""))


def test_the_largest_request_goes_into_numbered_rows() -> None:
    """A request of the largest size is cut, and comes back from its rows in the order of their keys."""
    packed = bytes(MAX_PACKED)
    rows = transitions.accept(NEW, packed, NOW_MS).rows
    assert [row.suffix for row in rows] == ["input|00", "input|01", "input|02", "input|03"]
    assert joined(row.properties for row in rows) == packed


def test_a_start_is_noted_with_its_first_poll() -> None:
    """Token, status and what is known of the object are written with the poll alarm, which a sweep is asked for."""
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


def test_a_start_gives_no_rows_to_an_object_that_is_not_final() -> None:
    """Until a response is final its object is only stored where it fits beside the record."""
    large = bytes(INLINE_BODY + 1)
    write = transitions.record_start(NEW, Status.IN_PROGRESS, "up_1", "up_1", POLL, large)
    assert (write.record.body, write.record.body_rows, write.rows) == (large, 0, ())
    assert operations.of_change_set(write, "w")[0][0][1]["body"] == b""


@pytest.mark.parametrize("status", TERMINAL)
def test_an_end_is_one_write(status: Status) -> None:
    """Status, time, output, delivery alarms and purge alarm go together, for every terminal status."""
    write = ended(TARGETED, Ending(status, b"answer"))
    assert (write.record.status, write.record.ended_ms, write.record.body) == (status, NOW_MS, b"answer")
    assert write.writes_body
    assert [(alarm.target, alarm.due_ms) for alarm in alarms_of(write, Kind.DELIVER)] == [
        ("c", NOW_MS + 15_000),
        ("q", NOW_MS + 15_000),
    ]
    assert [alarm.key for alarm in alarms_of(write, Kind.PURGE)] == [write.record.purge_key]


def test_an_end_asks_for_its_deliveries_at_once() -> None:
    """Each delivery knows its one alarm, and that alarm is the safety net of the message that is sent now."""
    write = ended(TARGETED)
    assert write.deliver_now == tuple(alarms_of(write, Kind.DELIVER))
    assert write.record.deliveries == tuple(
        Delivery(Target(alarm.target), alarm_key=alarm.key) for alarm in write.deliver_now
    )
    assert not ended(RUNNING).deliver_now


@pytest.mark.parametrize(("store", "kept_ms"), [(True, RETENTION_MS), (False, 600_000)])
def test_a_response_is_purged_after_its_retention(store: bool, kept_ms: int) -> None:
    """A stored one is kept as the deployment says, an unstored one for ten minutes after its end."""
    (purge,) = alarms_of(ended(replace(RUNNING, request=replace(RUNNING.request, store=store))), Kind.PURGE)
    assert purge.due_ms == NOW_MS + kept_ms


@pytest.mark.parametrize(
    ("size", "rows"), [(0, 0), (INLINE_BODY, 0), (INLINE_BODY + 1, 1), (655_361, 2), (MAX_PACKED, 4)]
)
def test_an_output_stands_in_the_record_or_in_rows_beside_it(size: int, rows: int) -> None:
    """While it fits it is in the record; else it is in as many rows as the record says, in the same write."""
    packed = bytes(size)
    write = ended(RUNNING, Ending(Status.COMPLETED, packed))
    assert write.record.body_rows == len(write.rows) == rows
    assert [row.suffix for row in write.rows] == [f"body|{n:02d}" for n in range(rows)]
    assert (joined(row.properties for row in write.rows) if rows else write.record.body) == packed


def test_an_end_from_outside_stops_the_upstream() -> None:
    """It takes the next epoch, and an alarm with the token tells the upstream from now on for a day."""
    write = ended(RUNNING, Ending(Status.CANCELLED, b"", stop=True))
    (stop,) = alarms_of(write, Kind.STOP)
    assert write.record.run.epoch == RUNNING.run.epoch + 1
    assert write.wake_for == (stop,)
    assert (stop.due_ms, stop.token, stop.deadline_ms) == (NOW_MS, "up_1", NOW_MS + DAY_MS)


@pytest.mark.parametrize(
    ("record", "stop"), [(NEW, True), (RUNNING, False)], ids=["no token to stop", "ended by the upstream"]
)
def test_nothing_is_stopped_without_need(record: Record, stop: bool) -> None:
    """Without a token there is nothing to stop yet; work that ended by itself needs no stop."""
    assert not alarms_of(ended(record, Ending(Status.FAILED, b"", stop=stop)), Kind.STOP)


def test_an_end_may_bring_the_upstreams_name() -> None:
    """A response that ends in its first answer learns its upstream id there; none given leaves the known one."""
    assert ended(NEW, Ending(Status.COMPLETED, b"", upstream_id="up_2")).record.upstream.id == "up_2"
    assert ended(RUNNING).record.upstream.id == "up_1"


@pytest.mark.parametrize("status", TERMINAL)
def test_what_has_ended_is_neither_ended_nor_started_again(status: Status) -> None:
    """The table of states refuses both, so no write comes of them."""
    over = ended(RUNNING, Ending(status, b"answer")).record
    with pytest.raises(IllegalTransition):
        ended(over)
    with pytest.raises(IllegalTransition):
        transitions.record_start(over, Status.IN_PROGRESS, "up_2", "up_2", POLL, b"")


def test_a_token_that_is_learned_too_late_is_stopped() -> None:
    """Whoever learns the token of a cancelled response notes it and sets the stop alarm in one write."""
    cancelled = ended(NEW, Ending(Status.CANCELLED, b"", stop=True)).record
    write = transitions.stop_orphan(cancelled, "up_9", "up_9", NOW_MS)
    assert write.record == replace(cancelled, upstream=replace(cancelled.upstream, token="up_9", id="up_9"))
    assert write.alarms_in == write.wake_for == (transitions.stop_alarm(NEW, "up_9", NOW_MS),)


def test_a_second_token_is_stopped_and_the_first_stays() -> None:
    """Work that an upstream began twice is stopped; the response goes on with what it has."""
    write = transitions.stop_orphan(RUNNING, "up_2", "up_2", NOW_MS)
    assert write.record == RUNNING
    assert [alarm.token for alarm in write.alarms_in] == ["up_2"]


def test_two_stops_of_one_response_do_not_collide() -> None:
    """The token's tag is in the key: both may be due in the same millisecond."""
    assert transitions.stop_alarm(NEW, "up_1", NOW_MS).key != transitions.stop_alarm(NEW, "up_2", NOW_MS).key


def test_an_acknowledgement_is_recorded_once() -> None:
    """From then on a caller knows the id, and the rows must stay."""
    change = transitions.acknowledge(NEW)
    assert change == ChangeSet(replace(NEW, acknowledged=True))
    assert transitions.acknowledge(replace(NEW, acknowledged=True)) is None


def test_an_announced_end_is_recorded_while_it_can_matter() -> None:
    """Not when the token is known, when it is recorded already, or when the response has ended."""
    announced = replace(NEW, upstream=replace(NEW.upstream, end_announced=True))
    assert transitions.announce_end(NEW) == ChangeSet(announced)
    for record in (announced, RUNNING, ended(NEW).record):
        assert transitions.announce_end(record) is None


def test_the_first_poll_is_due_at_once_where_the_end_is_announced() -> None:
    """Otherwise it waits for a tenth of the response's age, at least a second."""
    announced = replace(NEW, upstream=replace(NEW.upstream, end_announced=True))
    assert transitions.poll_alarm(announced, "up_1", NOW_MS, lambda: 0.0).due_ms == NOW_MS
    assert transitions.poll_alarm(NEW, "up_1", NOW_MS, lambda: 0.0).due_ms == NOW_MS + 1_000
    assert transitions.poll_alarm(NEW, "up_1", NOW_MS, lambda: 0.0, 60_000).due_ms == NOW_MS + 60_000


def test_a_response_may_be_accepted_as_ended() -> None:
    """Its request is kept, and its delivery and purge alarms are as those of any other end."""
    failed = Ending(Status.FAILED, b"why")
    change = transitions.accept_ended(TARGETED, b"request", failed, NOW_MS, RETENTION_MS)
    assert change == replace(ended(TARGETED, failed), rows=(Row("input|00", {"p0": b"request"}),))


def test_a_session_goes_into_rows_of_its_own() -> None:
    """A response that continues this one reads them."""
    change = ended(RUNNING, replace(COMPLETED, session=b"session"))
    assert (change.rows, change.record.session_rows) == ((Row("legacy|00", {"p0": b"session"}),), 1)
