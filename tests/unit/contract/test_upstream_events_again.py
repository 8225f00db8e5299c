"""A second `response.in_progress` is a heartbeat, or it says that the output begins again. The next item decides."""

import tracemalloc
from typing import Any

import pytest

from shared.contract.upstream_events import OutputBeginnings

DONE: dict[str, Any] = {"type": "message", "status": "completed"}
HALF: dict[str, Any] = {"type": "message", "status": "in_progress"}


def progress(*kept: Any) -> dict[str, Any]:
    """Return a `response.in_progress` with these items."""
    return {"type": "response.in_progress", "response": {"output": list(kept)}}


def added(index: object = 0) -> dict[str, Any]:
    """Return the event that begins an item."""
    return {"type": "response.output_item.added", "output_index": index, "item": HALF}


def delta(index: int = 0) -> dict[str, Any]:
    """Return an event within an item."""
    return {"type": "response.output_text.delta", "output_index": index, "delta": "a"}


def done(index: int = 0) -> dict[str, Any]:
    """Return the event that ends an item."""
    return {"type": "response.output_item.done", "output_index": index, "item": DONE}


def kept_after(*sent: dict[str, Any], is_resumed: bool = False) -> list[Any]:
    """Return what each event makes of the output: the items that stay, or None if the output goes on."""
    beginnings = OutputBeginnings(is_resumed=is_resumed)
    return [beginnings.take(one) for one in sent]


@pytest.mark.parametrize(
    "sent",
    [
        [progress(), added(), delta(), progress(), delta(), done()],
        [progress(), added(), delta(), progress(), done(), progress(), added(1)],
        [progress(), added(), done(), progress(DONE), added(1)],
        [progress(), added(), progress(HALF), added(1)],
        [progress(), added(), delta(), progress(), delta(), added()],
        [progress(), added(), delta(), added()],
        [progress(), progress(), added()],
        [added("0"), progress(), added(-1), added(None), progress()],
    ],
    ids=[
        "in an item",
        "between items",
        "kept",
        "two items",
        "before a delta",
        "no progress",
        "at the start",
        "no place",
    ],
)
def test_a_heartbeat_does_not_begin_the_output_again(sent: list[dict[str, Any]]) -> None:
    """The item that was begun goes on, or the next one has a new place."""
    assert set(kept_after(*sent)) == {None}


@pytest.mark.parametrize(
    ("before", "kept", "index", "stay"),
    [
        ([added(), delta()], [], 0, []),
        ([added(), delta(), done()], [], 0, []),
        ([added(), done(), added(1), delta(1)], [DONE], 1, [DONE]),
        ([added(), done(), added(1), delta(1)], [DONE, HALF], 1, [DONE]),
        ([added(), done(), added(1), delta(1)], [], 0, []),
        ([added(), delta()], [DONE], 1, [DONE]),
    ],
    ids=["all", "an item that was done", "one stays", "the slot is replaced", "two items", "an end that was not told"],
)
def test_an_item_in_a_place_that_was_begun_begins_the_output_again(
    before: list[dict[str, Any]], kept: list[Any], index: int, stay: list[Any]
) -> None:
    """The items that the progress holds before that place stay."""
    assert kept_after(progress(), *before, progress(*kept), added(index))[-1] == stay


@pytest.mark.parametrize("response", [None, {}, {"output": None}, {"output": "x"}], ids=str)
def test_nothing_stays_if_the_progress_has_no_output(response: object) -> None:
    """The object may be short or missing."""
    again = {"type": "response.in_progress", "response": response}
    assert kept_after(added(), again, added())[-1] == []


def test_the_output_may_begin_again_any_number_of_times() -> None:
    """The places of the last beginning count."""
    sent = [added(), done(), added(1), progress(), added(), progress(), added(1), progress(), added(1)]
    assert kept_after(*sent) == [None, None, None, None, [], None, None, None, []]


def test_a_reader_that_came_later_knows_of_one_item() -> None:
    """It does not know how many there were, so only the first place is known to be begun."""
    assert kept_after(delta(), progress(), added(), is_resumed=True)[-1] == []
    assert kept_after(delta(), progress(), added(1), is_resumed=True)[-1] is None
    assert kept_after(progress(), added())[-1] is None


@pytest.mark.parametrize("index", [9_999, 2_000_000, 10**9])
def test_the_place_of_an_item_costs_nothing(index: int) -> None:
    """An upstream may name any number. What is begun below it is not written down, and above 9,999 it is no place."""
    tracemalloc.start()
    kept = kept_after(progress(), added(index), progress(), added(index))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept[-1] == ([] if index < 10_000 else None)
    assert peak < 100_000


def test_all_items_below_a_new_beginning_have_begun() -> None:
    """Also those that were never told in this stream."""
    assert kept_after(progress(), added(7), progress(), added(7), progress(), added(3)) == [None] * 3 + [[], None, []]
