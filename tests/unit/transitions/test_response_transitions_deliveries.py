"""How the deliveries of a response begin in the change set that ends it."""

from dataclasses import replace

from shared.core.alarms import Kind
from shared.core.records import Delivery, Record, RequestInfo, Target
from shared.core.states import Status
from shared.transitions import response_transitions as transitions
from shared.transitions.delivery_transitions import FirstAttempt
from shared.transitions.response_transitions import DAY_MS, Ending

NOW_MS = 1_800_000_005_000
RETENTION_MS = 30 * DAY_MS
RUNNING = Record(
    "resp_0123456789abcdef0123456789abcdef", "ann", NOW_MS - 5_000, NOW_MS + 55_000, Status.IN_PROGRESS, etag="e1"
)
TARGETED = replace(RUNNING, request=RequestInfo(callback_url="https://example.com/hook", reply_to="answers"))
COMPLETED = Ending(Status.COMPLETED, b"answer")


def test_an_end_claims_the_first_attempt_of_each_delivery() -> None:
    """Whoever commits it sends at once. The alarm is the lease of the attempt, so no wake-up is sent for it."""
    write = transitions.end(TARGETED, COMPLETED, NOW_MS, RETENTION_MS)
    assert write.record.deliveries == tuple(
        Delivery(Target(alarm.target), attempt=1, sending=True, alarm_key=alarm.key)
        for alarm in write.alarms_in
        if alarm.kind is Kind.DELIVER
    )
    assert not write.wake_for
    assert not transitions.end(RUNNING, COMPLETED, NOW_MS, RETENTION_MS).record.deliveries


def test_an_end_puts_a_delivery_off_that_cannot_be_sent_now() -> None:
    """Its alarm fires at the time that is given, with a wake-up and without a counted attempt."""
    firsts = {Target.REPLY_QUEUE: FirstAttempt("", NOW_MS + 7_000)}
    write = transitions.end(TARGETED, COMPLETED, NOW_MS, RETENTION_MS, firsts)
    assert [(alarm.target, alarm.due_ms, alarm.first) for alarm in write.wake_for] == [("q", NOW_MS + 7_000, True)]
    assert [(one.target, one.attempt, one.sending) for one in write.record.deliveries] == [
        (Target.CALLBACK, 1, True),
        (Target.REPLY_QUEUE, 0, False),
    ]
