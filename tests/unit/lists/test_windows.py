"""Windows of time: how a list is read oldest first."""

from hypothesis import given
from hypothesis import strategies as st

from shared.core import keys
from shared.lists.windows import Walk, walk_from

ID = "resp_0123456789abcdef0123456789abcdef"
NOW_MS = 1_800_000_000_000
DAY_MS = 86_400_000
times = st.integers(0, NOW_MS)


def windows(walk: Walk, created: list[int], most: int) -> list[tuple[int, int]]:
    """Return the windows that are read whole of a list with these times, where more than `most` are too much."""
    found = list[tuple[int, int]]()
    for _ in range(2_000):
        if walk.is_over:
            return found
        last_ms = walk.last_ms[-1]
        inside = sorted(ms for ms in created if walk.from_ms <= ms <= last_ms)
        if len(inside) > most and not walk.is_narrow:
            walk.splits(keys.entry_place(inside[-most - 1], ID))
            continue
        found.append((walk.from_ms, last_ms))
        walk.goes_on()
    raise AssertionError("the walk does not end")


@given(st.lists(times, max_size=40), st.integers(-1, NOW_MS), st.integers(1, 5))
def test_windows_cover_each_time_once(created: list[int], after_ms: int, most: int) -> None:
    """Whatever was created behind the beginning of the walk is in exactly one window, and none holds too much."""
    read = windows(walk_from(after_ms, None, NOW_MS), created, most)
    for ms in created:
        assert sum(first <= ms <= last for first, last in read) == (ms > after_ms)
    for first, last in read:
        assert first == last or sum(first <= ms <= last for ms in created) <= most


def test_a_caller_with_little_has_one_window() -> None:
    """From the beginning of time up to now."""
    assert windows(walk_from(-1, None, NOW_MS), [NOW_MS - DAY_MS, NOW_MS], 250) == [(0, NOW_MS)]


def test_a_busy_day_is_found_behind_half_a_century() -> None:
    """In a few windows, of which most are empty."""
    created = [NOW_MS - DAY_MS + n * DAY_MS // 20_000 for n in range(20_000)]
    walk, reads, first_found = walk_from(-1, None, NOW_MS), 0, False
    while not first_found:
        reads += 1
        inside = [ms for ms in created if walk.from_ms <= ms <= walk.last_ms[-1]]
        if len(inside) > 250:
            walk.splits(keys.entry_place(inside[-251], ID))
            continue
        first_found = bool(inside)
        walk.goes_on()
    assert reads < 60


def test_a_walk_goes_on_behind_a_place() -> None:
    """What was created in the same millisecond and stands before the place is still to come."""
    after = keys.entry_place(NOW_MS, ID)
    walk = walk_from(-1, after, NOW_MS + 10)
    assert (walk.from_ms, walk.end, walk.last_ms) == (NOW_MS, after, [NOW_MS + 10])
    assert walk.first < keys.entry_place(NOW_MS, "resp_0" + "0" * 31) < walk.end


def test_a_walk_goes_on_behind_a_window() -> None:
    """The place of a window's end has no id. All of its millisecond has been read."""
    walk = walk_from(-1, keys.entry_place(NOW_MS), NOW_MS + 10)
    assert (walk.from_ms, walk.end) == (NOW_MS + 1, keys.entry_place(NOW_MS))


def test_a_place_before_what_is_asked_for_moves_nothing() -> None:
    """`created_after` is later than the place."""
    assert walk_from(NOW_MS, keys.entry_place(NOW_MS - 5, ID), NOW_MS + 9) == walk_from(NOW_MS, None, NOW_MS + 9)


def test_a_walk_behind_now_is_over() -> None:
    """Nothing can be there."""
    assert walk_from(NOW_MS, None, NOW_MS).is_over
