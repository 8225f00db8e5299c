"""Alarms as rows: the key orders them by time, key and facts together say all of them."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.alarms import LEASE_MS, PREFIX, Alarm, Kind, bound, read, read_key

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


@given(alarms)
def test_an_alarm_reads_back_from_its_row(alarm: Alarm) -> None:
    """Key, facts and ETag together are the alarm."""
    assert read(alarm.key, alarm.facts(), alarm.etag) == alarm


def test_the_key_is_as_the_design_says() -> None:
    """Thirteen digits of time, the kind, the id, and the target where there is one."""
    assert Alarm(NOW_MS, Kind.POLL, ID).key == f"alarm|1800000000000|poll|{ID}"
    assert Alarm(7, Kind.DELIVER, ID, "c").key == f"alarm|0000000000007|deliver|{ID}|c"


def test_two_deliveries_of_one_response_may_be_due_in_one_millisecond() -> None:
    """The target is part of the key, so that a callback and a reply queue do not collide."""
    assert Alarm(NOW_MS, Kind.DELIVER, ID, "c").key != Alarm(NOW_MS, Kind.DELIVER, ID, "q").key


@given(st.lists(alarms, min_size=2))
def test_keys_are_in_the_order_of_time(some: list[Alarm]) -> None:
    """The first rows of a partition are what is due first."""
    by_key = sorted(some, key=lambda alarm: alarm.key)
    assert [alarm.due_ms for alarm in by_key] == sorted(alarm.due_ms for alarm in some)


@given(alarms, times)
def test_the_bound_parts_what_is_due_from_what_is_not(alarm: Alarm, now_ms: int) -> None:
    """A row key is below the bound exactly if its alarm is due by then, in that very millisecond too."""
    assert (PREFIX <= alarm.key < bound(now_ms)) == (alarm.due_ms <= now_ms)


@given(alarms, times)
def test_a_moved_alarm_has_a_new_and_later_key(alarm: Alarm, due_ms: int) -> None:
    """Old and new stand side by side in one transaction, so it moves by at least 1 ms; nothing else changes."""
    moved = alarm.moved(due_ms)
    assert moved.due_ms == max(due_ms, alarm.due_ms + 1)
    assert moved.etag == ""
    assert (moved.id, moved.kind, moved.target, moved.facts()) == (alarm.id, alarm.kind, alarm.target, alarm.facts())


@given(alarms, times)
def test_an_alarm_may_be_set_to_an_earlier_time(alarm: Alarm, due_ms: int) -> None:
    """Whoever holds it may bring it forward; only its own time it cannot keep, for the key must be a new one."""
    following = alarm.at(due_ms)
    assert following.key != alarm.key
    assert following == replace(alarm, due_ms=following.due_ms, etag="")
    assert following.due_ms - due_ms == (due_ms == alarm.due_ms)


def test_a_move_may_note_what_it_changes() -> None:
    """The attempt is counted in the move itself."""
    assert Alarm(NOW_MS, Kind.POLL, ID).moved(NOW_MS + 5, attempt=3) == Alarm(NOW_MS + 5, Kind.POLL, ID, attempt=3)


def test_facts_hold_only_what_is_not_empty() -> None:
    """A fresh alarm costs its row two bytes."""
    assert Alarm(NOW_MS, Kind.PURGE, ID).facts() == "{}"


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
        "alarm|1800000000000|poll|resp_1",
        f"resp|1800000000000|poll|{ID}",
    ],
)
def test_a_key_that_names_no_alarm_is_a_value_error(key: str) -> None:
    """Whatever stands in the table or in a message, reading a key gives an alarm or a ValueError."""
    with pytest.raises(ValueError, match=r".+"):
        read_key(key)


@given(st.text() | st.from_regex(r"\Aalarm\|.*\|.*\|.*\Z"))
def test_any_text_is_the_key_of_the_alarm_it_gives(text: str) -> None:
    """No two keys give one alarm, so whoever writes a key back writes the same row."""
    try:
        alarm = read_key(text)
    except ValueError:
        return
    assert alarm.key == text


@pytest.mark.parametrize("facts", ["", "{", "[]", "null", "7", '{"attempt":"1"}', '{"token":7}', '{"born_ms":null}'])
def test_facts_that_are_none_of_an_alarm_are_an_error(facts: str) -> None:
    """A damaged row is found when it is read, where it stops no other."""
    with pytest.raises((ValueError, TypeError)):
        read(Alarm(NOW_MS, Kind.POLL, ID).key, facts, "etag")


def test_facts_of_another_version_are_passed_over() -> None:
    """During a deployment two versions read the same rows; the key alone says time, kind and id."""
    key = Alarm(NOW_MS, Kind.POLL, ID).key
    assert read(key, '{"attempt":2,"colour":"red","due_ms":1,"id":"x"}', "e") == Alarm(
        NOW_MS, Kind.POLL, ID, attempt=2, etag="e"
    )


def test_every_kind_has_a_lease() -> None:
    """A rung alarm is moved by its action's deadline and 10 s; a poll only when it is a checked one."""
    assert set(LEASE_MS) == set(Kind)
    assert min(LEASE_MS.values()) > 10_000
