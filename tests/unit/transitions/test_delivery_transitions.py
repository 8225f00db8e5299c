"""What each step of a delivery writes."""

from dataclasses import replace

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet, IndexRow, Row
from shared.core.entries import DeliveryEntry
from shared.core.ids import tag
from shared.core.records import Delivery, Record, RequestInfo, Target
from shared.core.states import DeliveryState, IllegalTransition, Status
from shared.transitions import delivery_transitions as transitions
from shared.transitions.delivery_transitions import AT_ONCE, FirstAttempt

ID = "resp_0123456789abcdef0123456789abcdef"
NOW_MS = 1_800_000_000_000
CLAIM = Alarm(NOW_MS + 20_000, Kind.DELIVER, ID, "c", caller="ann", host="example.com", trace="00-1")
FOLLOWING = CLAIM.at(NOW_MS + 5_000)
PENDING = Delivery(Target.CALLBACK, attempt=1, alarm_key=FOLLOWING.key)
OTHER = Delivery(Target.REPLY_QUEUE, alarm_key="other")
OVER = Record(
    ID,
    "ann",
    created_ms=NOW_MS - 5_000,
    deadline_ms=NOW_MS + 60_000,
    status=Status.COMPLETED,
    ended_ms=NOW_MS,
    trace="00-1",
    deliveries=(PENDING, OTHER),
    request=RequestInfo(store=True, callback_url="https://example.com/hook", reply_to="answers"),
)
SENDING = replace(PENDING, sending=True, alarm_key=CLAIM.key)
ROW = Row("attempt|c|001|0001", {"facts": "{}"})
FINAL = [state for state in DeliveryState if state is not DeliveryState.PENDING]
HERE = FirstAttempt("example.com")


def noted(state: DeliveryState, following: Alarm | None = None, owned: Alarm | None = CLAIM) -> ChangeSet:
    """Return the change set that notes an attempt with this outcome."""
    return transitions.note_attempt(
        OVER.with_delivery(SENDING), SENDING, state, ROW, owned=owned, following=following, now_ms=NOW_MS
    )


def test_a_delivery_that_begins_at_once_is_claimed() -> None:
    """Its first attempt is counted, and its alarm fires in 20 s, which happens only if the process crashes."""
    delivery = transitions.begin(OVER, Target.CALLBACK, HERE, NOW_MS)
    assert delivery == replace(SENDING, host="example.com")
    assert transitions.first_alarm(OVER, delivery, "example.com") == CLAIM


def test_a_delivery_that_is_put_off_is_not_claimed() -> None:
    """No attempt is counted, and its alarm fires when the host can be sent to."""
    later = FirstAttempt("example.com", NOW_MS + 41_000)
    delivery = transitions.begin(OVER, Target.CALLBACK, later, NOW_MS)
    assert (delivery.attempt, delivery.number, delivery.sending) == (0, 0, False)
    assert transitions.first_alarm(OVER, delivery, "example.com") == replace(CLAIM, due_ms=NOW_MS + 41_000, first=True)


def test_a_failed_attempt_is_noted_with_the_next_alarm() -> None:
    """One change set writes the row of the attempt, removes its alarm and sets the alarm of the next attempt.

    A wake-up is sent for the new alarm.
    """
    change = noted(DeliveryState.PENDING, FOLLOWING)
    expected = replace(SENDING, sending=False, alarm_key=FOLLOWING.key)
    assert change.record.delivery("c") == expected
    assert (change.rows, change.alarms_out, change.index_in) == ((ROW,), (CLAIM.key,), ())
    assert change.alarms_in == change.wake_for == (FOLLOWING,)


@pytest.mark.parametrize("state", FINAL)
def test_the_last_attempt_ends_the_delivery(state: DeliveryState) -> None:
    """After the last attempt no alarm is left.

    If a recovery may start the delivery again, it has an index row and its key.
    """
    change = noted(state)
    delivery = change.record.delivery("c")
    assert delivery
    assert (delivery.state, delivery.alarm_key, delivery.sending, change.alarms_in) == (state, "", False, ())
    key = f"failed|{tag('ann')}|{NOW_MS}|{ID}|c"
    row = IndexRow(key, DeliveryEntry(ID, "c", NOW_MS, "ann", str(state), delivery.host))
    is_recoverable = state in (DeliveryState.FAILED, DeliveryState.BLOCKED)
    assert (change.index_in, delivery.failure_key) == (((row,), key) if is_recoverable else ((), ""))


def test_an_attempt_whose_alarm_a_sweep_has_taken_is_noted() -> None:
    """The attempt is recorded, and the alarm is left to the sweep."""
    assert noted(DeliveryState.DELIVERED, owned=None).alarms_out == ()


@pytest.mark.parametrize("state", FINAL)
def test_a_delivery_that_has_ended_accepts_no_other_outcome(state: DeliveryState) -> None:
    """The table of states refuses a second outcome. Only a redelivery makes the delivery pending again."""
    over = replace(SENDING, state=state)
    with pytest.raises(IllegalTransition):
        transitions.note_attempt(OVER, over, DeliveryState.DELIVERED, ROW, owned=None, following=None, now_ms=NOW_MS)
    with pytest.raises(IllegalTransition):
        transitions.fail_delivery(OVER, over, NOW_MS)


def test_a_delivery_that_fails_by_our_fault_can_be_recovered() -> None:
    """A delivery that fails by a fault of ours gets an index row, by which a recovery finds it."""
    change = transitions.fail_delivery(OVER.with_delivery(SENDING), SENDING, NOW_MS)
    delivery = change.record.delivery("c")
    assert delivery
    assert (delivery.state, delivery.sending) == (DeliveryState.FAILED, False)
    assert [row.key for row in change.index_in] == [delivery.failure_key]


def test_a_redelivery_begins_a_new_schedule() -> None:
    """Its first attempt is claimed under a new alarm. The alarm of the schedule before is left to fire.

    A failed delivery loses its index row.
    """
    failed = replace(PENDING, state=DeliveryState.FAILED, alarm_key="", failure_key="failed|x", unknown={"new": 1})
    change = transitions.redeliver(OVER, failed, HERE, NOW_MS)
    assert change
    expected = Delivery(
        Target.CALLBACK,
        schedule=2,
        attempt=2,
        attempts_before=1,
        alarm_key=CLAIM.key,
        sending=True,
        host="example.com",
        unknown={"new": 1},
    )
    assert (change.record.delivery("c"), expected.number) == (expected, 1)
    assert (change.alarms_in, change.alarms_out) == ((replace(CLAIM, schedule=2),), ())
    assert (change.index_out, change.wake_for) == (("failed|x",), ())


def test_a_redelivery_that_is_put_off_asks_for_a_sweep() -> None:
    """Its alarm fires later, and no attempt is claimed."""
    change = transitions.redeliver(OVER, PENDING, FirstAttempt("example.com", NOW_MS + 9_000), NOW_MS)
    assert change
    assert [alarm.due_ms for alarm in change.wake_for] == [NOW_MS + 9_000]
    assert (change.wake_for, change.index_out) == (change.alarms_in, ())


def test_a_redelivery_has_an_alarm_of_its_own() -> None:
    """If the alarm of the schedule before is due at the same time, the new one is due 1 ms later."""
    change = transitions.redeliver(OVER, replace(PENDING, alarm_key=CLAIM.key), AT_ONCE, NOW_MS)
    assert change
    assert [alarm.due_ms for alarm in change.alarms_in] == [CLAIM.due_ms + 1]


def test_a_first_attempt_that_may_be_under_way_is_left_alone() -> None:
    """Only when its alarm is past, a redelivery begins. The process that claimed it has crashed, or was too late."""
    assert transitions.redeliver(OVER, SENDING, HERE, CLAIM.due_ms - 1) is None
    assert transitions.redeliver(OVER, SENDING, HERE, CLAIM.due_ms) is not None


def test_the_key_of_an_attempt_has_its_target_schedule_and_number() -> None:
    """The row of an attempt has the suffix that these give."""
    assert transitions.attempt_row(Target.CALLBACK, 1, 1, "{}") == ROW
