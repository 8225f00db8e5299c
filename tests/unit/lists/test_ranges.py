"""Lanes that are merged: one list, as far as every lane was read."""

from dataclasses import replace

from shared.core.entries import Entry
from shared.core.states import Status
from shared.lists.ranges import Lane, merged


def entry(created_ms: int, digit: str = "a") -> Entry:
    """Return the entry of a response."""
    return Entry(f"resp_{digit * 32}", created_ms, "ann", Status.QUEUED)


def test_lanes_are_merged_newest_first() -> None:
    """Of one millisecond, the order is that of the ids."""
    first, second = [entry(3, "a"), entry(1, "b")], [entry(2, "c"), entry(1, "d")]
    expected = [first[0], second[0], first[1], second[1]]
    assert merged([Lane(first, rows=2), Lane(second, rows=7)]) == (expected, None, 7)
    assert merged([]) == ([], None, 0)


def test_nothing_behind_an_unread_part_is_shown() -> None:
    """An entry of the unread part could stand before it."""
    read, other = entry(5, "a"), [entry(9, "b"), entry(4, "c")]
    unread = read.place + "!"
    assert merged([Lane([read], unread=unread), Lane(other)]) == ([other[0], read], unread, 0)


def test_what_ended_meanwhile_counts_once() -> None:
    """It was read in the live range first, and then as ended."""
    live = entry(5)
    ended = replace(live, status=Status.COMPLETED)
    assert merged([Lane([live]), Lane([ended])]).entries == [ended]


def test_what_was_deleted_meanwhile_is_not_shown() -> None:
    """It was read in the live range first, and then as deleted."""
    assert merged([Lane([entry(5)]), Lane(hidden={entry(5).id})]).entries == []
