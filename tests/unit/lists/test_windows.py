"""Windows of time: how a list is read oldest first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core import keys
from shared.lists.windows import WINDOW_MS, Walk, walk_from

ID = "resp_0123456789abcdef0123456789abcdef"
NOW_MS = 1_800_000_000_000


def windows(walk: Walk, now_ms: int) -> list[tuple[str, str]]:
    """Return the first place and the end of each window of a walk, up to now."""
    found = []
    while walk.from_ms <= now_ms:
        found.append((walk.first(now_ms), walk.end))
        walk.goes_on(now_ms)
    return found


@given(st.integers(0, NOW_MS), st.integers(-1, NOW_MS), st.integers(0, NOW_MS))
def test_windows_cover_each_time_once(created_ms: int, after_ms: int, oldest_ms: int) -> None:
    """Whatever was created behind the beginning of the walk is in exactly one window."""
    place = keys.entry_place(created_ms, ID)
    covering = [one for one in windows(walk_from(after_ms, None, oldest_ms), NOW_MS) if one[0] < place < one[1]]
    assert len(covering) == (created_ms > after_ms)


def test_the_first_window_reaches_up_to_what_may_exist() -> None:
    """So a walk from the beginning of time needs few windows. Then each is four times as wide as the one before."""
    walk = walk_from(-1, None, NOW_MS - 30 * 86_400_000)
    assert len(windows(walk, NOW_MS)) == 2
    walk = walk_from(NOW_MS - 30 * 86_400_000, None, 0)
    assert walk.width_ms == WINDOW_MS
    assert len(windows(walk, NOW_MS)) == 9


def test_a_walk_goes_on_behind_a_place() -> None:
    """What was created in the same millisecond and stands before the place is still to come."""
    after = keys.entry_place(NOW_MS, ID)
    walk = walk_from(-1, after, 0)
    assert (walk.from_ms, walk.end) == (NOW_MS, after)
    assert walk.first(NOW_MS + 10) < keys.entry_place(NOW_MS, "resp_0" + "0" * 31) < walk.end


def test_a_walk_goes_on_behind_a_window() -> None:
    """The place of a window's end has no id. All of its millisecond has been read."""
    walk = walk_from(-1, keys.entry_place(NOW_MS), 0)
    assert (walk.from_ms, walk.end) == (NOW_MS + 1, keys.entry_place(NOW_MS))


def test_a_place_before_what_is_asked_for_moves_nothing() -> None:
    """`created_after` is later than the place."""
    assert walk_from(NOW_MS, keys.entry_place(NOW_MS - 5, ID), 0) == walk_from(NOW_MS, None, 0)


@pytest.mark.parametrize(("width_ms", "narrower"), [(WINDOW_MS, WINDOW_MS // 4), (3, 1), (1, None)])
def test_a_window_that_holds_too_much_becomes_narrower(width_ms: int, narrower: int | None) -> None:
    """It ends at one millisecond."""
    walk = Walk(0, keys.END, width_ms)
    assert walk.shrinks() == (narrower is not None)
    assert walk.width_ms == narrower or narrower is None
