"""Invariants 3 and 4 for any sequence of events: a terminal status is final, and an end is one transaction.

An event is what the engine writes about a record that it has read. The sequences are arbitrary. Most of them cannot
happen with a real upstream, caller and clock.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core import blobs
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet, Row
from shared.core.records import Delivery, Record, RequestInfo, Target, UpstreamInfo
from shared.core.states import TRANSITIONS, DeliveryState, IllegalTransition, Status, event_type, later
from shared.lifecycle import endings
from shared.lifecycle.endings import Outcome
from shared.transitions import delivery_transitions, retention_transitions, upstream_transitions
from shared.transitions import response_transitions as transitions
from shared.transitions.delivery_transitions import AT_ONCE
from shared.transitions.response_transitions import DAY_MS
from shared.upstreams.protocol import Progress

ID = "resp_0123456789abcdef0123456789abcdef"
BORN_MS = 1_800_000_000_000
RETENTION_MS = 30 * DAY_MS
UNFINISHED = [status for status in Status if not status.is_terminal]

Event = Callable[[Record], ChangeSet | None]

moments = st.integers(BORN_MS, BORN_MS + DAY_MS)
tokens = st.sampled_from(["up_1", "up_2"])
states = st.sampled_from(DeliveryState)
answers: st.SearchStrategy[dict[str, Any]] = st.dictionaries(
    st.sampled_from(["output", "error", "usage", "incomplete_details", "status"]),
    st.none() | st.text(max_size=3) | st.just([]) | st.just({"code": None}),
)
records = st.builds(
    Record,
    id=st.just(ID),
    caller=st.just("ann"),
    created_ms=st.just(BORN_MS),
    deadline_ms=st.just(BORN_MS + DAY_MS),
    status=st.sampled_from(UNFINISHED),
    request=st.builds(
        RequestInfo,
        store=st.booleans(),
        background=st.booleans(),
        callback_url=st.none() | st.just("https://example.com/hook"),
        reply_to=st.none() | st.just("answers"),
    ),
    upstream=st.builds(UpstreamInfo, token=st.none() | tokens),
)


def ended(record: Record, outcome: Outcome, now_ms: int) -> ChangeSet:
    """Return the change set that ends a record with an outcome."""
    return transitions.end(record, endings.ending_of(record, outcome), now_ms, RETENTION_MS)


def ends(outcome: Outcome, now_ms: int) -> Event:
    """Return the event that ends a response with an outcome."""
    return lambda record: ended(record, outcome, now_ms)


def starts(status: Status, token: str, now_ms: int) -> Event:
    """Return the event that the upstream has accepted the work."""
    poll = Alarm(now_ms, Kind.POLL, ID, token=token)
    return lambda record: transitions.record_start(record, status, token, token, poll, b"")


def notes(status: Status) -> Event:
    """Return the event that the upstream's answer shows an unfinished status."""
    return lambda record: transitions.record_progress(record, later(record.status, status))


def of_an_ended(write: Event) -> Event:
    """Return an event that happens to ended responses only."""
    return lambda record: write(record) if record.status.is_terminal else None


def redelivers(now_ms: int) -> Event:
    """Return the event that the first delivery is begun again."""

    def redeliver(record: Record) -> ChangeSet | None:
        delivery = next(iter(record.deliveries), None)
        return delivery_transitions.redeliver(record, delivery, AT_ONCE, now_ms) if delivery else None

    return redeliver


def notes_attempt(state: DeliveryState) -> Event:
    """Return the event that the outcome of an attempt of the first delivery is noted."""

    def note_attempt(record: Record) -> ChangeSet | None:
        delivery, row = next(iter(record.deliveries), None), Row("attempt|c|001|0001", {})
        if delivery is None:
            return None
        return delivery_transitions.note_attempt(
            record, delivery, state, row, owned=None, following=None, now_ms=BORN_MS
        )

    return note_attempt


events: st.SearchStrategy[Event] = st.one_of(
    st.builds(starts, st.sampled_from(Status), tokens, moments),
    st.builds(notes, st.sampled_from(Status)),
    st.builds(ends, st.builds(endings.cancelled, moments), moments),
    st.builds(ends, st.builds(endings.deadline_exceeded, moments), moments),
    st.builds(ends, st.builds(endings.internal_error, moments), moments),
    st.builds(ends, st.builds(endings.by_failure, st.just("upstream_lost"), st.text(), moments), moments),
    st.builds(
        ends,
        st.builds(
            endings.by_progress, st.builds(Progress, st.sampled_from(Status), st.none(), answers, tokens), moments
        ),
        moments,
    ),
    st.builds(
        lambda token, now_ms: lambda record: upstream_transitions.stop_orphan(record, token, token, now_ms),
        tokens,
        moments,
    ),
    st.builds(redelivers, moments),
    st.builds(notes_attempt, states),
    st.builds(lambda now_ms: of_an_ended(lambda record: retention_transitions.delete(record, now_ms)), moments),
    st.builds(
        lambda now_ms: of_an_ended(lambda record: retention_transitions.postpone_purge(record, purge(now_ms))), moments
    ),
    st.just(of_an_ended(retention_transitions.hide)),
    st.just(of_an_ended(retention_transitions.expire)),
)


def purge(now_ms: int) -> Alarm:
    """Return a purge alarm."""
    return Alarm(now_ms, Kind.PURGE, ID)


def written(event: Event, record: Record) -> ChangeSet | None:
    """Return the change set of an event, or None if the table of states refuses it."""
    try:
        return event(record)
    except IllegalTransition:
        return None


def outcome(record: Record) -> tuple[object, ...]:
    """Return the values that no event may change once a response has ended."""
    return (
        record.status,
        record.body,
        record.body_rows,
        record.ended_ms,
        record.request.callback_url,
        record.request.reply_to,
    )


def assert_legal(before: Record, write: ChangeSet) -> None:
    """Fail unless the new status is the same or may follow, and an ended response keeps its status, output and time."""
    after = write.record
    assert after.status is before.status or after.status in TRANSITIONS[before.status]
    if before.status.is_terminal:
        assert outcome(after) == outcome(before)
        assert not write.writes_body


def assert_whole(before: Record, write: ChangeSet) -> None:
    """Fail unless terminal status, output, delivery alarms and purge alarm are written together, or none of them."""
    ends_now = write.record.status.is_terminal and not before.status.is_terminal
    if ends_now:
        assert [alarm.target for alarm in write.alarms_in if alarm.kind is Kind.DELIVER] == list(
            before.request.targets(event_type(write.record.status))
        )
        assert [alarm.key for alarm in write.alarms_in if alarm.kind is Kind.PURGE] == [write.record.purge_key]
        assert blobs.unpack(write.record.body)["status"] == write.record.status
        assert write.writes_body
    elif not write.record.status.is_terminal:
        assert not {alarm.kind for alarm in write.alarms_in} & {Kind.DELIVER, Kind.PURGE}
        assert (write.record.ended_ms, write.record.deliveries, write.record.purge_key) == (0, (), "")


@settings(deadline=None)
@given(records, st.lists(events, max_size=12))
def test_no_sequence_of_events_leaves_a_terminal_status(record: Record, course: list[Event]) -> None:
    """In any sequence of events, a terminal status is final and every end is one complete transaction."""
    for event in course:
        write = written(event, record)
        if write:
            assert_legal(record, write)
            assert_whole(record, write)
            record = write.record


@settings(deadline=None)
@given(records, events, st.integers(0, 2))
def test_the_second_of_two_ends_changes_nothing(record: Record, event: Event, n: int) -> None:
    """If two ends race, the one that reads the other's record cannot change its status or output."""
    first = ended(record, endings.cancelled(BORN_MS), BORN_MS + n).record
    write = written(event, first)
    assert write is None or outcome(write.record) == outcome(first)


def test_a_delivery_begins_as_pending() -> None:
    """The deliveries of a response that has just ended are open, each with one alarm."""
    record = Record(
        ID, "ann", BORN_MS, BORN_MS + DAY_MS, request=RequestInfo(store=True, callback_url="https://example.com/hook")
    )
    after = ended(record, endings.cancelled(BORN_MS), BORN_MS).record
    assert after.deliveries == (
        Delivery(
            Target.CALLBACK, attempt=1, sending=True, alarm_key=Alarm(BORN_MS + 20_000, Kind.DELIVER, ID, "c").key
        ),
    )
