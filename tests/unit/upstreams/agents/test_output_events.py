"""An agent's answer as events: what opens, goes on and closes, whatever the order in which pieces come."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstreams.agents.output_events import Delta, DeltaKind, OutputBuilder, total_usage

TEXT, DONE = Delta(DeltaKind.TEXT, "a", "m"), Delta(DeltaKind.TEXT, "ab", "m", is_whole=True)


def received(*pieces: Delta) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the events of all pieces, and the output."""
    narrative = OutputBuilder("x")
    events = [event for piece in pieces for event in narrative.add(piece)]
    return [*events, *narrative.close()], narrative.output


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events, without their common beginning."""
    return [event["type"].removeprefix("response.") for event in events]


def rebuilt(events: list[dict[str, Any]]) -> dict[int, str]:
    """Return what a reader of deltas has in the end, by item."""
    texts: dict[int, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            texts[event["output_index"]] = texts.get(event["output_index"], "") + event["delta"]
    return texts


def test_the_whole_text_after_its_pieces_is_not_told_twice() -> None:
    """Agent Framework says it once more at the end: only what is missing is a delta, and the item is over."""
    events, output = received(TEXT, DONE, Delta(DeltaKind.TEXT, "c", "m"))
    assert rebuilt(events) == {0: "ab", 1: "c"}
    assert [item["content"][0]["text"] for item in output] == ["ab", "c"]


def test_a_text_that_was_rewritten_is_right_in_the_end() -> None:
    """What was told cannot be taken back; the `done` events and the output hold what is valid."""
    events, output = received(Delta(DeltaKind.TEXT, "xy", "m"), DONE)
    assert rebuilt(events) == {0: "xy"}
    assert [event["text"] for event in events if event["type"].endswith("text.done")] == ["ab"]
    assert output[0]["content"][0]["text"] == "ab"


def test_calls_are_written_side_by_side() -> None:
    """Their arguments may come in turns, and later pieces need not say whose they are."""
    events, output = received(
        Delta(DeltaKind.CALL, "{", "c1", "one"),
        Delta(DeltaKind.CALL, "[", "c2", "two"),
        Delta(DeltaKind.CALL, "}", "c1"),
        Delta(DeltaKind.CALL, "]"),
        Delta(DeltaKind.RESULT, "1", "c1"),
    )
    assert [(item.get("name"), item.get("arguments"), item.get("output")) for item in output] == [
        ("one", "{}", None),
        ("two", "[]", None),
        (None, None, "1"),
    ]
    assert kinds(events)[-6:-2] == [*["function_call_arguments.done", "output_item.done"] * 2]
    assert [event["output_index"] for event in events if event["type"].endswith("item.done")] == [0, 1, 2]


def test_a_call_that_is_told_again_is_told_once() -> None:
    """Some clients repeat it whole once it is over."""
    events, output = received(
        Delta(DeltaKind.CALL, "{}", "c", "t", is_whole=True), Delta(DeltaKind.CALL, "{}", "c", "t", is_whole=True)
    )
    assert kinds(events).count("output_item.added") == len(output) == 1


def test_nothing_is_not_an_item() -> None:
    """Clients announce parts with an empty text, and close them so."""
    assert received(Delta(DeltaKind.TEXT, "", "m"), Delta(DeltaKind.REASONING, "", "r")) == ([], [])


def test_a_refusal_is_a_part_of_its_own_kind() -> None:
    """With its own events."""
    events, output = received(Delta(DeltaKind.REFUSAL, "No.", "m"))
    assert output[0]["content"] == [{"type": "refusal", "refusal": "No."}]
    assert "refusal.delta" in kinds(events)


PIECES = st.builds(
    Delta,
    st.sampled_from(DeltaKind),
    st.text("ab", max_size=3),
    st.sampled_from(["1", "2", ""]),
    st.sampled_from(["tool", ""]),
    st.booleans(),
)


@given(st.lists(PIECES, max_size=12))
def test_every_item_opens_and_closes_once(pieces: list[Delta]) -> None:
    """In whatever order pieces come: places have no gap, events are within their item, and `done` is the output."""
    events, output = received(*pieces)
    opened = [event["output_index"] for event in events if event["type"] == "response.output_item.added"]
    done = {event["output_index"]: event["item"] for event in events if event["type"] == "response.output_item.done"}
    assert opened == list(range(len(output)))
    assert [done[index] for index in opened] == output
    under_way: set[int] = set()
    for event in events:
        if event["type"] == "response.output_item.added":
            under_way.add(event["output_index"])
        assert event["output_index"] in under_way
        if event["type"] == "response.output_item.done":
            under_way.remove(event["output_index"])
    assert len({item["id"] for item in output}) == len(output)


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ([], None),
        ([{"input_token_count": 2, "output_token_count": 3}], (2, 3, 5)),
        ([{"input_token_count": 2, "total_token_count": 9}, {"output_token_count": None}], (2, 0, 9)),
    ],
)
def test_usage_is_the_sum_of_all_requests(details: list[dict[str, Any]], expected: tuple[int, int, int] | None) -> None:
    """Where nobody counted there is none; a total that nobody told is the sum."""
    used = total_usage(details)
    assert (used and (used["input_tokens"], used["output_tokens"], used["total_tokens"])) == expected
