"""What the events of an upstream mean: their types, heartbeats, the end, their numbers, and the items they tell."""

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import upstream_events
from shared.contract.upstream_events import (
    ItemProgress,
    Numbering,
    answer_in,
    end_of,
    is_about_response,
    kind_of,
    named,
    status_after,
)
from shared.core.states import Status

ERROR = {"code": "policy", "message": "Blocked."}
DELTA = {"type": "response.output_text.delta", "delta": "a"}


# Types


@pytest.mark.parametrize(
    "kind",
    ["response.output_text.delta", "acme:trace_event", "acme:search.progress", "response.mcp_call.In-Progress", "é",
     "Ping2", "a/b", "x" * 200],
)  # fmt: skip
def test_a_type_is_any_word(kind: str) -> None:
    """Open Responses lets providers name their own events with a colon. Any text without spaces passes."""
    assert kind_of({"type": kind}) == kind


@pytest.mark.parametrize(
    "kind", [None, 5, "", " ", "a b", "a\nb", "a\rb", "a\0b", "a\u2028b", "a\x85b", "a\xa0b", "x" * 201, ["x"]]
)
def test_a_type_that_would_break_a_frame_is_none(kind: object) -> None:
    """A type is one word of up to 200 characters."""
    assert kind_of({"type": kind}) is None
    assert not is_about_response({"type": kind})


@pytest.mark.parametrize(
    "kind",
    ["keepalive", "keep_alive", "keep-alive", "response.keep_alive", "response.keepalive", "heartbeat", "Ping",
     "response.heartbeat", "ping", "response.ping", "KEEPALIVE"],
)  # fmt: skip
def test_a_heartbeat_of_the_transport_is_no_sign_of_the_work(kind: str) -> None:
    """Gateways give their heartbeats many names."""
    assert not is_about_response({"type": kind})


@pytest.mark.parametrize("kind", ["acme:ping", "response.created", "error", "x.y", "response.ping_pong.x", "pinged"])
def test_every_other_event_is_a_sign_of_the_work(kind: str) -> None:
    """A provider's own event is one, whatever it is called."""
    assert is_about_response({"type": kind})


# Names of frames


@pytest.mark.parametrize(
    ("sent", "name", "expected"),
    [
        (DELTA, "", DELTA),
        (DELTA, "response.other", DELTA),
        ({"delta": "a"}, "response.output_text.delta", DELTA),
        ({"type": None, "delta": "a"}, "response.output_text.delta", DELTA),
        ({}, "ping", {"type": "ping"}),
        ({}, "", {}),
        (ERROR, "error", {"type": "error", **ERROR}),
        ({"type": "error", **ERROR}, "error", {"type": "error", **ERROR}),
        ({"error": ERROR}, "error", {"type": "error", "error": ERROR}),
        ({"type": "error", "error": ERROR}, "error", {"type": "error", "error": ERROR}),
        ({"type": "policy_error", **ERROR}, "error", {"type": "error", "error": {"type": "policy_error", **ERROR}}),
        ({"type": "x", "error": ERROR}, "error", {"type": "error", "error": ERROR}),
        ({"type": "response.failed", "response": {}}, "error", {"type": "response.failed", "response": {}}),
    ],
)
def test_the_name_of_a_frame_is_the_type_of_an_event_without_one(
    sent: dict[str, Any], name: str, expected: dict[str, Any]
) -> None:
    """A type counts more than the frame's name, but for `error`: a frame of that name is an error whatever it holds."""
    before = dict(sent)
    found = named(sent, name)
    assert {key: value for key, value in found.items() if value is not None} == expected
    assert sent == before


@pytest.mark.parametrize("kind", [{"a": 1}, ["error"], 5, True])
def test_a_type_that_is_no_text_is_none(kind: Any) -> None:
    """The frame's name is the type then, and what a frame named `error` says is told."""
    assert named({"type": kind, "message": "busy"}, "error") == {"type": "error", "message": "busy"}
    assert named({"type": kind, "delta": "d"}, "response.output_text.delta")["type"] == "response.output_text.delta"


# The end


@pytest.mark.parametrize("kind", ["completed", "done", "failed", "incomplete", "cancelled"])
@pytest.mark.parametrize("status", [one for one in Status if one.is_terminal])
def test_a_terminal_status_decides_over_the_type(kind: str, status: Status) -> None:
    """LiteLLM's wildcard routes end everything with `response.completed`."""
    assert end_of({"type": f"response.{kind}", "response": {"id": "up_1", "status": status}}) is status


@pytest.mark.parametrize("status", [Status.QUEUED, Status.IN_PROGRESS])
@pytest.mark.parametrize("kind", ["completed", "done", "failed", "incomplete", "cancelled"])
def test_an_unfinished_status_ends_only_the_stream(kind: str, status: Status) -> None:
    """The work goes on, or its stream is broken. The consumer knows which."""
    assert end_of({"type": f"response.{kind}", "response": {"status": status}}) is status


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("completed", Status.COMPLETED),
        ("done", Status.COMPLETED),
        ("failed", Status.FAILED),
        ("incomplete", Status.INCOMPLETE),
        ("cancelled", Status.CANCELLED),
    ],
)
@pytest.mark.parametrize("response", [None, {}, {"status": None}, {"status": "done"}, {"status": ["failed"]}, "x"])
def test_without_a_status_the_type_decides(kind: str, status: Status, response: object) -> None:
    """A status that is missing or in no contract says nothing."""
    assert end_of({"type": f"response.{kind}", "response": response}) is status
    assert end_of({"type": f"response.{kind}"}) is status


@pytest.mark.parametrize("fields", [{"response": {"status": "in_progress", "error": ERROR}},
                                    {"response": {"status": "in_progress"}, "error": ERROR}])  # fmt: skip
def test_a_failure_with_a_reason_is_an_end(fields: dict[str, Any]) -> None:
    """Some servers forget to change the status of the response, and say why it failed."""
    assert end_of({"type": "response.failed", **fields}) is Status.FAILED


def test_an_event_of_any_name_is_an_end_if_its_response_is_terminal() -> None:
    """Opening events are none, because some servers fill them with the final object."""
    done = {"id": "up_1", "status": "completed"}
    assert end_of({"type": "response.finished", "response": done}) is Status.COMPLETED
    assert end_of({"type": "acme:end", "response": {"status": "failed"}}) is Status.FAILED
    for kind in ("response.created", "response.queued", "response.in_progress"):
        assert end_of({"type": kind, "response": done}) is None


@pytest.mark.parametrize(
    "sent",
    [
        {},
        DELTA,
        {"type": "error"},
        {"type": "acme:x", "response": {"status": "in_progress"}},
        {"response": {"status": "completed"}},
    ],
)
def test_other_events_are_no_end(sent: dict[str, Any]) -> None:
    """An error is read elsewhere."""
    assert end_of(sent) is None


def test_the_error_of_the_event_is_the_error_of_its_response() -> None:
    """Some servers put it beside the response. The response's own error counts more."""
    assert answer_in({"response": {"id": "a", "error": None}, "error": ERROR}) == {"id": "a", "error": ERROR}
    assert answer_in({"response": {"error": ERROR}, "error": {"message": "x"}}) == {"error": ERROR}
    assert answer_in({"response": {"id": "a"}}) == {"id": "a"}
    assert answer_in({"response": None}) is answer_in({}) is None


@pytest.mark.parametrize(
    ("kind", "status"),
    [
        ("response.created", Status.QUEUED),
        ("response.queued", Status.QUEUED),
        ("response.in_progress", Status.IN_PROGRESS),
        ("x.y", Status.IN_PROGRESS),
        (None, Status.IN_PROGRESS),
    ],
)
def test_an_event_shows_whether_the_work_has_begun(kind: str | None, status: Status) -> None:
    """Only `created` and `queued` come before the work."""
    assert status_after({"type": kind}) is status


# Numbers


@pytest.mark.parametrize("kind", ["response.created", "response.queued", "response.in_progress"])
def test_some_events_precede_the_output(kind: str) -> None:
    """They are about the response as a whole."""
    assert upstream_events.is_opening({"type": kind})
    assert not upstream_events.is_opening(DELTA)


def news(numbering: Numbering, numbers: list[int | None]) -> list[int | None]:
    """Return the numbers of the events that are new."""
    return [number for number in numbers if numbering.is_new(number)]


@given(st.lists(st.integers(0, 50), unique=True).map(sorted), st.integers(0, 50))
def test_of_growing_numbers_the_known_ones_are_not_new(numbers: list[int], upcoming: int) -> None:
    """A resumed stream that begins before the cursor repeats nothing. The next number is above all."""
    numbering = Numbering(upcoming)
    assert news(numbering, [*numbers]) == [number for number in numbers if number >= upcoming]
    assert numbering.upcoming == max([upcoming, *(number + 1 for number in numbers)])


@given(st.lists(st.integers(0, 5), min_size=2))
def test_numbers_that_do_not_grow_lose_no_event(numbers: list[int]) -> None:
    """All events of a first stream are new, and a stream without usable numbers cannot be resumed."""
    numbering = Numbering(0)
    assert news(numbering, [*numbers]) == numbers
    if any(before >= after for before, after in pairwise(numbers)):
        assert numbering.upcoming == 0


def test_an_event_without_a_number_changes_nothing() -> None:
    """It is new, and the stream is resumed after the last numbered one."""
    numbering = Numbering(3)
    assert news(numbering, [None, 3, None, 4]) == [None, 3, None, 4]
    assert numbering.upcoming == 5


# Items


def end_after(*events: tuple[str, int, dict[str, Any]]) -> Status | None:
    """Return the status of work whose stream ends after these events, without a terminal one."""
    items = ItemProgress()
    for kind, index, item in events:
        items.take({"type": f"response.output_item.{kind}", "output_index": index, "item": item})
    return items.end()


MESSAGE, CALL, THOUGHT = {"type": "message"}, {"type": "function_call"}, {"type": "reasoning"}


def test_an_item_is_open_until_it_is_done() -> None:
    """A reader of events that lack its end lacks a part of its content, too."""
    items = ItemProgress()
    for kind, is_open in (("added", True), ("done", False)):
        items.take({"type": f"response.output_item.{kind}", "output_index": 0, "item": {"type": "message"}})
        assert items.is_open is is_open


def test_work_is_done_when_all_items_that_were_begun_are() -> None:
    """Items may overlap. Some servers tell only their ends."""
    assert end_after(("added", 0, MESSAGE), ("added", 1, CALL), ("done", 1, CALL)) is None
    assert end_after(("added", 0, MESSAGE), ("added", 1, CALL), ("done", 1, CALL), ("done", 0, MESSAGE)) == "completed"
    assert end_after(("done", 0, THOUGHT), ("done", 1, CALL)) is Status.COMPLETED


def test_an_item_that_was_cut_makes_the_work_incomplete() -> None:
    """The item says so itself."""
    assert end_after(("done", 0, {**MESSAGE, "status": "incomplete"}), ("done", 1, MESSAGE)) is Status.INCOMPLETE


def test_thoughts_alone_are_no_answer() -> None:
    """A stream that ends after its reasoning has broken off, and so has one without items."""
    assert end_after(("added", 0, THOUGHT), ("done", 0, THOUGHT)) is None
    assert end_after() is None


@pytest.mark.parametrize("index", [None, "0", 1.5, [0]])
def test_an_item_without_a_place_is_ignored(index: Any) -> None:
    """So is a place without an item."""
    assert end_after(("done", index, MESSAGE)) is None
    items = ItemProgress()
    items.take({"type": "response.output_item.done", "output_index": 0, "item": None})
    items.take({"type": "acme:item.done", "output_index": 0, "item": MESSAGE})
    assert items.end() is None
