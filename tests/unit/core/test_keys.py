"""Row keys: each is built and read in one place, and sorts in the order that scans rely on."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core import keys

ID = "resp_0123456789abcdef0123456789abcdef"
OTHER = "resp_ffffffffffffffffffffffffffffffff"
NOW_MS = 1_800_000_000_000
TAG = "a" * 16
times = st.integers(0, 9_999_999_999_999)


@given(times, st.sampled_from(["", "c", "q", "0123456789abcdef"]))
def test_the_key_of_an_alarm_reads_back(due_ms: int, target: str) -> None:
    """The key gives the time, kind, response and target that it was built from."""
    assert keys.parse_alarm_key(keys.alarm_key(due_ms, "poll", ID, target)) == (due_ms, "poll", ID, target)


@pytest.mark.parametrize("key", ["", "alarm|", f"alarm|1|poll|{ID}", f"alarm|{NOW_MS}|poll|{ID}|", f"resp|{ID}"])
def test_any_other_key_is_not_an_alarm(key: str) -> None:
    """A key that is not an alarm's raises a ValueError that names the key."""
    with pytest.raises(ValueError, match="not an alarm"):
        keys.parse_alarm_key(key)


@given(times, times)
def test_a_bound_separates_due_alarms_from_later_ones(due_ms: int, until_ms: int) -> None:
    """A key is below the bound exactly if its alarm is due by then. An alarm of the same millisecond is due."""
    for target in ("", "c"):
        key = keys.alarm_key(due_ms, "poll", ID, target)
        assert (keys.ALARMS <= key < keys.alarms_until(until_ms)) == (due_ms <= until_ms)


@pytest.mark.parametrize("listing", ["open", "failed"])
def test_a_delivery_in_trouble_is_found_by_caller_and_time(listing: str) -> None:
    """Its key names the time, the response and the target, and lies in the range of its caller."""
    key = keys.delivery_key(listing, TAG, NOW_MS, ID, "c")
    assert keys.parse_delivery_key(key) == (NOW_MS, ID, "c")
    assert keys.deliveries_from(listing, TAG, NOW_MS) <= key < keys.deliveries_from(listing, TAG, NOW_MS + 1)
    prefix = keys.entries_from(listing, TAG)
    assert prefix < key < prefix + keys.END < keys.deliveries_from(listing, "b" * 16, 0)
    with pytest.raises(ValueError, match="not a delivery"):
        keys.parse_delivery_key(f"{listing}|x|{ID}")


@given(times)
def test_the_key_of_an_entry_reads_back(created_ms: int) -> None:
    """The key gives the time and the response that it was built from."""
    assert keys.parse_entry_key(keys.entry_key("live", TAG, created_ms, ID)) == (created_ms, ID)


@given(times, st.sampled_from([ID, ""]))
def test_a_place_reads_back(created_ms: int, response_id: str) -> None:
    """It gives the time and the id that it was built from. The place before all of one time has no id."""
    assert keys.parse_entry_place(keys.entry_place(created_ms, response_id)) == (created_ms, response_id)


@pytest.mark.parametrize("key", ["", "live|", f"live|{TAG}|1|{ID}", f"else|{TAG}|{NOW_MS}|{ID}", f"resp|{ID}"])
def test_any_other_key_is_not_an_entry(key: str) -> None:
    """A key that is not an entry's raises a ValueError that names the key."""
    with pytest.raises(ValueError, match="not an entry"):
        keys.parse_entry_key(key)


@given(times, times, st.sampled_from([ID, OTHER]))
def test_the_entries_of_a_caller_are_a_range_in_which_younger_ones_come_first(
    created_ms: int, until_ms: int, response_id: str
) -> None:
    """A key is above the place of a time exactly if its response was created by then. Callers have ranges."""
    key, prefix = keys.entry_key("list", TAG, created_ms, response_id), keys.entries_from("list", TAG)
    assert key == prefix + keys.entry_place(created_ms, response_id)
    assert (prefix + keys.entry_place(until_ms) < key) == (created_ms <= until_ms)
    assert prefix < key < prefix + keys.END < keys.entries_from("list", "b" * 16)
    assert keys.entries_from("list") < key < keys.entries_from("list") + keys.END


def test_the_sums_of_a_caller_are_sorted_by_day() -> None:
    """The key of a day's sums lies in the range of its caller and day."""
    key = keys.usage_key(TAG, "2027-01-31", "b" * 16)
    assert keys.usage_from(TAG, "2027-01-31") < key < keys.usage_from(TAG, "2027-02-01")
    assert key < keys.usage_from("b" * 16, "1970-01-01")


def test_an_erasure_has_a_row_of_its_own() -> None:
    """Its id has the form of a response's, so it has a shard and may have alarms."""
    assert keys.erasure_key(ID) == f"erase|{ID[5:]}"


def test_the_rows_of_a_response_follow_its_record() -> None:
    """The keys of a response's rows sort right after its record, before the rows of any other response."""
    record, child = keys.record_key(ID), keys.child_key(ID, keys.part_suffix(keys.INPUT, 0))
    assert (record, child) == (f"resp|{ID}", f"resp|{ID}|input|00")
    assert record < keys.children_from(ID) < child < keys.children_from(ID) + keys.END < keys.record_key(OTHER)
    assert keys.children_from(ID, keys.INPUT) < child < keys.children_from(ID, keys.INPUT) + keys.END


def test_parts_and_checkpoints_sort_by_number() -> None:
    """Keys are compared as text, so their numbers have a fixed width."""
    assert keys.part_suffix(keys.BODY, 9) < keys.part_suffix(keys.BODY, 10)
    first, second = (keys.child_key(ID, keys.checkpoint_suffix(9, part)) for part in (0, 1))
    assert first < second < keys.child_key(ID, keys.checkpoint_suffix(10, 0))
    assert keys.checkpoint_of(first) == keys.checkpoint_of(second) == f"resp|{ID}|memo|000009"


def test_an_attempt_names_its_target() -> None:
    """The key of an attempt has its target, then its schedule and its number in it. Old keys have no schedule."""
    key = keys.child_key(ID, keys.attempt_suffix("c", 3, 12))
    assert (key, keys.attempt_target(key)) == (f"resp|{ID}|attempt|c|003|0012", "c")
    assert keys.attempt_target(f"resp|{ID}|attempt|q|0012") == "q"


def test_a_batch_of_events_is_found_by_its_first_number() -> None:
    """The parts of a batch are consecutive, and the next batch follows them."""
    first, second = (keys.child_key(ID, keys.event_suffix(256, part)) for part in (0, 1))
    following = keys.child_key(ID, keys.event_suffix(512, 0))
    assert keys.first_event_of(second) == 256
    assert keys.events_from(ID, 256) <= first < second < keys.after_batch(first) < following < keys.events_end(ID)


def test_an_upstream_id_has_a_row_in_the_shard_of_its_hash() -> None:
    """An upstream id may contain any characters, because its key is made from its hash."""
    owner = keys.upstream_owner("resp_of/the|upstream")
    assert keys.upstream_key(owner) == f"upstream|{owner.removeprefix('resp_')}"
    assert keys.upstream_owner("another") != owner


def test_rows_beside_responses_have_names_of_their_own() -> None:
    """No two kinds of rows that stand under a hash are confused."""
    named = {keys.upstream_key(ID), keys.repeats_key(ID), keys.conversation_key(ID)}
    assert named == {f"{kind}|{ID.removeprefix('resp_')}" for kind in ("upstream", "same", "conv")}
