"""What each step writes: one transaction, decided from the record as it was read."""

from dataclasses import replace

import pytest

from shared.core import response_transitions as plans
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.blobs import MAX_PACKED, from_rows
from shared.core.changesets import Row, Write
from shared.core.records import INLINE_BODY, Delivery, Record
from shared.core.response_transitions import DAY_MS, Ending
from shared.core.states import IllegalTransition, Status
from shared.storage import operations

ID = "resp_0123456789abcdef0123456789abcdef"
BORN_MS = 1_800_000_000_000
NOW_MS = BORN_MS + 5_000
RETENTION_MS = 30 * DAY_MS
NEW = Record(ID, "ann", created_ms=BORN_MS, deadline_ms=BORN_MS + 60_000)
RUNNING = replace(NEW, status=Status.IN_PROGRESS, token="up_1", upstream_id="up_1", etag="e1")
TARGETED = replace(RUNNING, callback_url="https://example.com/hook", reply_to="answers")
POLL = Alarm(NOW_MS + 1_000, Kind.POLL, ID, token="up_1")
COMPLETED = Ending(Status.COMPLETED, b"answer")
TERMINAL = [status for status in Status if status.is_terminal]


def ended(record: Record = RUNNING, ending: Ending = COMPLETED) -> Write:
    """Return the write that ends a record now."""
    return plans.ended(record, ending, NOW_MS, RETENTION_MS)


def alarms_of(write: Write, kind: Kind) -> list[Alarm]:
    """Return the alarms of a kind that a write inserts."""
    return [alarm for alarm in write.alarms_in if alarm.kind is kind]


def test_accepting_inserts_record_request_and_start_alarm() -> None:
    """One write holds all three; the alarm is the starter's lease of 30 s and knows the deadline."""
    write = plans.opened(NEW, b"request", NOW_MS)
    start = Alarm(NOW_MS + 30_000, Kind.START, ID, born_ms=BORN_MS, deadline_ms=NEW.deadline_ms)
    assert write == Write(NEW, alarms_in=(start,), rows=(Row("input|00", {"p0": b"request"}),), writes_body=True)
    assert LEASE_MS[Kind.START] == 30_000


def test_an_unfinished_status_is_noted() -> None:
    """What a poll shows of unfinished work is written into the record, and nothing beside it."""
    assert plans.noted(NEW, Status.IN_PROGRESS) == Write(replace(NEW, status=Status.IN_PROGRESS))


@pytest.mark.parametrize("status", TERMINAL)
def test_only_an_end_is_terminal(status: Status) -> None:
    """Whatever an upstream makes of its words, neither a start nor a note leaves a terminal status without its end."""
    with pytest.raises(IllegalTransition):
        plans.started(NEW, status, "up_1", "up_1", POLL, b"")
    with pytest.raises(IllegalTransition):
        plans.noted(NEW, status)


@pytest.mark.parametrize("status", [Status.QUEUED, Status.IN_PROGRESS])
def test_an_end_is_terminal(status: Status) -> None:
    """Nothing ends as unfinished."""
    with pytest.raises(IllegalTransition):
        ended(RUNNING, Ending(status, b""))


def test_the_largest_request_goes_into_numbered_rows() -> None:
    """A request of the largest size is cut, and comes back from its rows in the order of their keys."""
    packed = bytes(MAX_PACKED)
    rows = plans.opened(NEW, packed, NOW_MS).rows
    assert [row.suffix for row in rows] == ["input|00", "input|01", "input|02", "input|03"]
    assert from_rows(row.properties for row in rows) == packed


def test_a_start_is_noted_with_its_first_poll() -> None:
    """Token, status and what is known of the object are written with the poll alarm, which a sweep is asked for."""
    write = plans.started(NEW, Status.IN_PROGRESS, "up_1", "up_1", POLL, b"known")
    assert write.record == replace(
        NEW, status=Status.IN_PROGRESS, token="up_1", upstream_id="up_1", body=b"known", body_rows=0
    )
    assert write.alarms_in == write.wakes == (POLL,)
    assert write.writes_body
    assert not write.rows


def test_a_start_gives_no_rows_to_an_object_that_is_not_final() -> None:
    """Until a response is final its object is only stored where it fits beside the record."""
    large = bytes(INLINE_BODY + 1)
    write = plans.started(NEW, Status.IN_PROGRESS, "up_1", "up_1", POLL, large)
    assert (write.record.body, write.record.body_rows, write.rows) == (large, 0, ())
    assert operations.of_write(write, "w")[0][0][1]["body"] == b""


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
    assert [alarm.key for alarm in alarms_of(write, Kind.PURGE)] == [write.record.purge]


def test_an_end_asks_for_its_deliveries_at_once() -> None:
    """Each delivery knows its one alarm, and that alarm is the safety net of the message that is sent now."""
    write = ended(TARGETED)
    assert write.delivers == tuple(alarms_of(write, Kind.DELIVER))
    assert write.record.deliveries == tuple(Delivery(alarm.target, alarm=alarm.key) for alarm in write.delivers)
    assert not ended(RUNNING).delivers


@pytest.mark.parametrize(("store", "kept_ms"), [(True, RETENTION_MS), (False, 600_000)])
def test_a_response_is_purged_after_its_retention(store: bool, kept_ms: int) -> None:
    """A stored one is kept as the deployment says, an unstored one for ten minutes after its end."""
    (purge,) = alarms_of(ended(replace(RUNNING, store=store)), Kind.PURGE)
    assert purge.due_ms == NOW_MS + kept_ms


@pytest.mark.parametrize(("store", "kept_ms"), [(True, RETENTION_MS), (False, DAY_MS)])
def test_an_open_delivery_keeps_a_response_no_longer_than_this(store: bool, kept_ms: int) -> None:
    """A stored one never beyond its retention, an unstored one up to a day."""
    assert plans.kept_until(replace(RUNNING, store=store, ended_ms=NOW_MS), RETENTION_MS) == NOW_MS + kept_ms


@pytest.mark.parametrize(
    ("size", "rows"), [(0, 0), (INLINE_BODY, 0), (INLINE_BODY + 1, 1), (655_361, 2), (MAX_PACKED, 4)]
)
def test_an_output_stands_in_the_record_or_in_rows_beside_it(size: int, rows: int) -> None:
    """While it fits it is in the record; else it is in as many rows as the record says, in the same write."""
    packed = bytes(size)
    write = ended(RUNNING, Ending(Status.COMPLETED, packed))
    assert write.record.body_rows == len(write.rows) == rows
    assert [row.suffix for row in write.rows] == [f"body|{n:02d}" for n in range(rows)]
    assert (from_rows(row.properties for row in write.rows) if rows else write.record.body) == packed


def test_an_end_from_outside_stops_the_upstream() -> None:
    """It takes the next epoch, and an alarm with the token tells the upstream from now on for a day."""
    write = ended(RUNNING, Ending(Status.CANCELLED, b"", stop=True))
    (stop,) = alarms_of(write, Kind.STOP)
    assert write.record.epoch == RUNNING.epoch + 1
    assert write.wakes == (stop,)
    assert (stop.due_ms, stop.token, stop.deadline_ms) == (NOW_MS, "up_1", NOW_MS + DAY_MS)


@pytest.mark.parametrize(
    ("record", "stop"), [(NEW, True), (RUNNING, False)], ids=["no token to stop", "ended by the upstream"]
)
def test_nothing_is_stopped_without_need(record: Record, stop: bool) -> None:
    """Without a token there is nothing to stop yet; work that ended by itself needs no stop."""
    assert not alarms_of(ended(record, Ending(Status.FAILED, b"", stop=stop)), Kind.STOP)


def test_an_end_may_bring_the_upstreams_name() -> None:
    """A response that ends in its first answer learns its upstream id there; none given leaves the known one."""
    assert ended(NEW, Ending(Status.COMPLETED, b"", upstream_id="up_2")).record.upstream_id == "up_2"
    assert ended(RUNNING).record.upstream_id == "up_1"


@pytest.mark.parametrize("status", TERMINAL)
def test_what_has_ended_is_neither_ended_nor_started_again(status: Status) -> None:
    """The table of states refuses both, so no write comes of them."""
    over = ended(RUNNING, Ending(status, b"answer")).record
    with pytest.raises(IllegalTransition):
        ended(over)
    with pytest.raises(IllegalTransition):
        plans.started(over, Status.IN_PROGRESS, "up_2", "up_2", POLL, b"")


def test_a_token_that_is_learned_too_late_is_stopped() -> None:
    """Whoever learns the token of a cancelled response notes it and sets the stop alarm in one write."""
    cancelled = ended(NEW, Ending(Status.CANCELLED, b"", stop=True)).record
    write = plans.learned(cancelled, "up_9", "up_9", NOW_MS)
    assert write.record == replace(cancelled, token="up_9", upstream_id="up_9")
    assert write.alarms_in == write.wakes == (plans.stop(NEW, "up_9", NOW_MS),)


def test_a_second_token_is_stopped_and_the_first_stays() -> None:
    """Work that an upstream began twice is stopped; the response goes on with what it has."""
    write = plans.learned(RUNNING, "up_2", "up_2", NOW_MS)
    assert write.record == RUNNING
    assert [alarm.token for alarm in write.alarms_in] == ["up_2"]


def test_two_stops_of_one_response_do_not_collide() -> None:
    """The token's tag is in the key: both may be due in the same millisecond."""
    assert plans.stop(NEW, "up_1", NOW_MS).key != plans.stop(NEW, "up_2", NOW_MS).key


def test_a_claim_counts_the_attempt_and_moves_the_one_alarm() -> None:
    """What was due goes, what rings after a death comes, and the delivery knows it."""
    over = ended(TARGETED).record
    delivery = over.deliveries[0]
    due = Alarm(NOW_MS + 15_000, Kind.DELIVER, ID, "c")
    claim = due.moved(NOW_MS + 60_000)
    write = plans.claimed(over, delivery, due, claim)
    assert write.record.deliveries == (Delivery("c", attempt=1, alarm=claim.key, sending=True), over.deliveries[1])
    assert (write.alarms_in, write.alarms_out) == ((claim,), (due.key,))


@pytest.mark.parametrize("following", [None, Alarm(NOW_MS + 5_000, Kind.DELIVER, ID, "c")])
def test_an_attempt_is_noted_with_what_follows_it(following: Alarm | None) -> None:
    """Its row, the delivery as it now is, the spent alarm and the next one, if there is one, are one write."""
    over = ended(TARGETED).record
    row = Row("attempt|c|0001", {"facts": "{}"})
    alarm_key = following.key if following else ""
    delivery = Delivery("c", "pending" if following else "delivered", 1, alarm=alarm_key)
    write = plans.concluded(over, replace(delivery, sending=True), row, ("spent",), following, NOW_MS)
    assert write.failures_in == ()
    assert write.record.delivery("c") == delivery
    assert (write.rows, write.alarms_out) == ((row,), ("spent",))
    assert write.alarms_in == write.wakes == ((following,) if following else ())


def test_deleting_hides_and_brings_the_purge_forward() -> None:
    """From that write on the response is not found, and its rows go at once."""
    over = ended().record
    write = plans.deleted(over, NOW_MS)
    purge = Alarm(NOW_MS, Kind.PURGE, ID)
    assert write.record == replace(over, deleted=True, purge=purge.key)
    assert (write.alarms_in, write.alarms_out, write.wakes) == ((purge,), (over.purge,), (purge,))


def test_hiding_leaves_the_purge_that_is_under_way() -> None:
    """Where the purge has begun, only the mark is written."""
    over = ended().record
    assert plans.hidden(over) == Write(replace(over, deleted=True))


def test_putting_a_purge_off_keeps_its_one_alarm_known() -> None:
    """The record holds the key of the new alarm, so that a delete finds it."""
    over = ended().record
    later = Alarm(NOW_MS + 600_000, Kind.PURGE, ID)
    write = plans.put_off(over, later)
    assert write == Write(replace(over, purge=later.key), alarms_in=(later,), wakes=(later,))
