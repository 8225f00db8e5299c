"""What each step of a delivery writes."""

from dataclasses import replace

import pytest

from shared.core import delivery_transitions as transitions
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet, Row
from shared.core.ids import tag
from shared.core.records import Delivery, Postponed, Record, RequestInfo, Target
from shared.core.states import DeliveryState, IllegalTransition, Status

ID = "resp_0123456789abcdef0123456789abcdef"
NOW_MS = 1_800_000_000_000
DUE = Alarm(NOW_MS + 15_000, Kind.DELIVER, ID, "c")
CLAIM = DUE.moved(NOW_MS + 60_000)
FOLLOWING = CLAIM.at(NOW_MS + 5_000)
PENDING = Delivery(Target.CALLBACK, alarm_key=DUE.key)
OTHER = Delivery(Target.REPLY_QUEUE, alarm_key="other")
OVER = Record(
    ID,
    "ann",
    created_ms=NOW_MS - 5_000,
    deadline_ms=NOW_MS + 60_000,
    status=Status.COMPLETED,
    ended_ms=NOW_MS,
    deliveries=(PENDING, OTHER),
    request=RequestInfo(store=True, callback_url="https://example.com/hook", reply_to="answers"),
)
SENDING = replace(PENDING, attempt=1, sending=True, alarm_key=CLAIM.key)
ROW = Row("attempt|c|0001", {"facts": "{}"})
FINAL = [state for state in DeliveryState if state is not DeliveryState.PENDING]


def recorded(state: DeliveryState, following: Alarm | None = None, claim: Alarm | None = CLAIM) -> ChangeSet:
    """Return the change set that records an attempt with this outcome."""
    return transitions.record_attempt(
        OVER.with_delivery(SENDING), SENDING, state, ROW, claim=claim, following=following, now_ms=NOW_MS
    )


def test_a_claim_counts_the_attempt_and_replaces_the_alarm() -> None:
    """The delivery has the key of the new alarm, which fires only if the process crashes.

    The other delivery is unchanged.
    """
    change = transitions.claim_attempt(OVER, replace(PENDING, postponed=Postponed.BREAKER), DUE, CLAIM)
    assert change.record.deliveries == (SENDING, OTHER)
    assert (change.alarms_in, change.alarms_out) == ((CLAIM,), (DUE.key,))
    assert transitions.claim_alarm(DUE, NOW_MS) == CLAIM


def test_a_failed_attempt_is_recorded_with_the_next_alarm() -> None:
    """One change set writes the row of the attempt, removes its alarm and sets the alarm of the next attempt.

    A wake-up is sent for the new alarm.
    """
    change = recorded(DeliveryState.PENDING, FOLLOWING)
    expected = replace(SENDING, sending=False, alarm_key=FOLLOWING.key)
    assert change.record.delivery("c") == expected
    assert (change.rows, change.alarms_out, change.index_in) == ((ROW,), (CLAIM.key,), ())
    assert change.alarms_in == change.wake_for == (FOLLOWING,)


@pytest.mark.parametrize("state", FINAL)
def test_the_last_attempt_ends_the_delivery(state: DeliveryState) -> None:
    """After the last attempt no alarm is left.

    If a recovery may start the delivery again, it has an index row and its key.
    """
    change = recorded(state)
    delivery = change.record.delivery("c")
    assert delivery
    assert (delivery.state, delivery.alarm_key, delivery.sending, change.alarms_in) == (state, "", False, ())
    key = f"failed|{tag('ann')}|{NOW_MS}|{ID}|c"
    is_recoverable = state in (DeliveryState.FAILED, DeliveryState.BLOCKED)
    assert (change.index_in, delivery.failure_key) == (((key,), key) if is_recoverable else ((), ""))


def test_an_attempt_whose_alarm_a_sweep_has_taken_is_recorded() -> None:
    """The attempt is recorded, and the alarm is left to the sweep."""
    assert recorded(DeliveryState.DELIVERED, claim=None).alarms_out == ()


@pytest.mark.parametrize("state", FINAL)
def test_a_delivery_that_has_ended_accepts_no_other_outcome(state: DeliveryState) -> None:
    """The table of states refuses a second outcome. Only a redelivery makes the delivery pending again."""
    over = replace(SENDING, state=state)
    with pytest.raises(IllegalTransition):
        transitions.record_attempt(OVER, over, DeliveryState.DELIVERED, ROW, claim=None, following=None, now_ms=NOW_MS)
    with pytest.raises(IllegalTransition):
        transitions.fail_delivery(OVER, over, NOW_MS)
    assert transitions.redeliver(OVER, over, NOW_MS).record.delivery("c") == Delivery(
        Target.CALLBACK, attempt=1, attempts_before=1, alarm_key=Alarm(NOW_MS + 15_000, Kind.DELIVER, ID, "c").key
    )


def test_a_delivery_that_fails_by_our_fault_can_be_recovered() -> None:
    """A delivery that fails by a fault of ours gets an index row, by which a recovery finds it."""
    change = transitions.fail_delivery(OVER.with_delivery(SENDING), SENDING, NOW_MS)
    delivery = change.record.delivery("c")
    assert delivery
    assert (delivery.state, delivery.sending, (delivery.failure_key,)) == (DeliveryState.FAILED, False, change.index_in)


def test_an_attempt_is_postponed_without_being_counted() -> None:
    """The alarm of a postponed attempt moves, the reason is recorded, and the attempt is not counted."""
    later = DUE.at(NOW_MS + 30_000)
    change = transitions.postpone_attempt(OVER, PENDING, DUE, later, Postponed.CAPACITY)
    assert change.record.delivery("c") == replace(PENDING, alarm_key=later.key, postponed=Postponed.CAPACITY)
    assert (change.alarms_in, change.alarms_out, change.wake_for) == ((later,), (DUE.key,), (later,))


def test_a_redelivery_replaces_the_alarm_and_the_index_row() -> None:
    """A pending delivery gets a new alarm, 1 ms later if it would be due at the same time.

    A failed one loses its index row.
    """
    change = transitions.redeliver(OVER, PENDING, NOW_MS)
    assert [alarm.due_ms for alarm in change.alarms_in] == [DUE.due_ms + 1]
    assert (change.alarms_out, change.deliver_now) == ((DUE.key,), change.alarms_in)
    failed = replace(PENDING, state=DeliveryState.FAILED, alarm_key="", failure_key="failed|x")
    change = transitions.redeliver(OVER, failed, NOW_MS)
    assert (change.alarms_out, change.index_out) == ((), ("failed|x",))


def test_the_key_of_an_attempt_has_its_target_and_number() -> None:
    """The row of an attempt has the suffix that its target and number give."""
    assert transitions.attempt_row(Target.CALLBACK, 1, "{}") == ROW
