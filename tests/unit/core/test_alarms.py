"""Alarms: their keys sort by time, and a moved alarm has a new key."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.alarms import LEASE_MS, Alarm, AnsweredPolls, Kind, alarm_of
from shared.core.keys import ALARMS, alarms_until

ID = "resp_0123456789abcdef0123456789abcdef"
NOW_MS = 1_800_000_000_000

times = st.integers(0, 9_999_999_999_999)
counts = st.integers(0, 2**53)
alarms = st.builds(
    Alarm,
    due_ms=times,
    kind=st.sampled_from(Kind),
    id=st.binary(min_size=16, max_size=16).map(lambda digits: f"resp_{digits.hex()}"),
    target=st.sampled_from(["", "c", "q", "0123456789abcdef"]),
    attempt=counts,
    tries=counts,
    token=st.text(max_size=20),
    born_ms=times,
    deadline_ms=times,
    read_ms=times,
    missing_ms=times,
    etag=st.text(max_size=20),
)


def test_the_key_of_an_alarm_has_the_specified_form() -> None:
    """The key has thirteen digits of time, the kind, the id, and the target if there is one."""
    assert Alarm(NOW_MS, Kind.POLL, ID).key == f"alarm|1800000000000|poll|{ID}"
    assert Alarm(7, Kind.DELIVER, ID, "c").key == f"alarm|0000000000007|deliver|{ID}|c"


def test_two_deliveries_of_one_response_may_be_due_in_the_same_millisecond() -> None:
    """The target is part of the key, so a callback and a reply queue do not collide."""
    assert Alarm(NOW_MS, Kind.DELIVER, ID, "c").key != Alarm(NOW_MS, Kind.DELIVER, ID, "q").key


@given(st.lists(alarms, min_size=2))
def test_keys_sort_by_time(some: list[Alarm]) -> None:
    """The alarms that are due first are the first rows of their partition."""
    by_key = sorted(some, key=lambda alarm: alarm.key)
    assert [alarm.due_ms for alarm in by_key] == sorted(alarm.due_ms for alarm in some)


@given(alarms, times)
def test_the_bound_separates_due_alarms_from_later_ones(alarm: Alarm, now_ms: int) -> None:
    """A row key is below the bound exactly if its alarm is due by then. An alarm of the same millisecond is due."""
    assert (ALARMS <= alarm.key < alarms_until(now_ms)) == (alarm.due_ms <= now_ms)


@given(alarms, times)
def test_a_moved_alarm_has_a_new_and_later_key(alarm: Alarm, due_ms: int) -> None:
    """A move sets an alarm at least 1 ms later and changes nothing else.

    Old and new rows need different keys, because one transaction contains both.
    """
    moved = alarm.moved(due_ms)
    assert moved == replace(alarm, due_ms=max(due_ms, alarm.due_ms + 1), etag="")


@given(alarms, times)
def test_an_alarm_may_be_set_to_an_earlier_time(alarm: Alarm, due_ms: int) -> None:
    """An alarm may be set to any time.

    If that is its current time, it is set 1 ms later, because the key must be a new one.
    """
    following = alarm.at(due_ms)
    assert following.key != alarm.key
    assert following == replace(alarm, due_ms=following.due_ms, etag="")
    assert following.due_ms - due_ms == (due_ms == alarm.due_ms)


def test_a_move_may_change_other_fields() -> None:
    """A move may also change other fields of the alarm, such as the count of attempts."""
    assert Alarm(NOW_MS, Kind.POLL, ID).moved(NOW_MS + 5, attempt=3) == Alarm(NOW_MS + 5, Kind.POLL, ID, attempt=3)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "alarm",
        "alarm|",
        f"alarm|1800000000000|poll|{ID}|",
        f"alarm|1800000000000|poll|{ID}|c|c",
        f"alarm|180000000000|poll|{ID}",
        f"alarm|-800000000000|poll|{ID}",
        f"alarm|{'٣' * 13}|poll|{ID}",
        f"alarm|1800000000000|dance|{ID}",
        f"alarm|1800000000000|deliver|{ID}",
        f"alarm|1800000000000|deliver|{ID}|newer",
        "alarm|1800000000000|poll|resp_1",
        f"resp|1800000000000|poll|{ID}",
    ],
)
def test_a_key_that_is_not_an_alarms_raises_value_error(key: str) -> None:
    """Any text in the table or in a message is the key of an alarm or raises a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        alarm_of(key)


@given(st.text() | st.from_regex(r"\Aalarm\|.*\|.*\|.*\Z"))
def test_two_different_keys_never_give_the_same_alarm(text: str) -> None:
    """The key of a parsed alarm is the text it was parsed from, so writing it back addresses the same row."""
    try:
        alarm = alarm_of(text)
    except ValueError:
        return
    assert alarm.key == text


def test_every_kind_has_a_lease() -> None:
    """Each kind of alarm has a lease: the deadline of its action plus 10 s.

    For a poll it applies to checked polls only.
    """
    assert set(LEASE_MS) == set(Kind)
    assert min(LEASE_MS.values()) > 10_000


def test_an_answered_poll_is_known_once() -> None:
    """The next move of the alarm uses the knowledge up, because the poll after it may fail."""
    polls, alarm = AnsweredPolls(), Alarm(NOW_MS, Kind.POLL, ID)
    assert not polls.take(alarm)
    polls.note(alarm)
    assert not polls.take(alarm.moved(NOW_MS + 1))
    assert (polls.take(alarm), polls.take(alarm)) == (True, False)


def test_the_oldest_answered_polls_are_forgotten() -> None:
    """Their alarms may never come back to this process. So what is known of them has a bound."""
    polls, some = AnsweredPolls(most=2), [Alarm(NOW_MS + n, Kind.POLL, ID) for n in range(3)]
    for alarm in some:
        polls.note(alarm)
    assert [polls.take(alarm) for alarm in some] == [False, True, True]
