"""An agent's answer as events: items open, continue and close correctly in any order of deltas."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.upstreams.agents.output_events import Delta, DeltaKind, OutputBuilder, total_usage

TEXT, DONE = Delta(DeltaKind.TEXT, "a", "m"), Delta(DeltaKind.TEXT, "ab", "m", is_whole=True)


def received(*pieces: Delta) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the events of all deltas, and the output."""
    narrative = OutputBuilder("x")
    events = [event for piece in pieces for event in narrative.add(piece)]
    return [*events, *narrative.close()], narrative.output


def kinds(events: list[dict[str, Any]]) -> list[str]:
    """Return the types of events, without their common prefix."""
    return [event["type"].removeprefix("response.") for event in events]


def rebuilt(events: list[dict[str, Any]]) -> dict[int, str]:
    """Return the text that a reader has joined from the deltas of each item, by index."""
    texts: dict[int, str] = {}
    for event in events:
        if event["type"].endswith(".delta"):
            texts[event["output_index"]] = texts.get(event["output_index"], "") + event["delta"]
    return texts


def test_the_whole_text_after_its_deltas_is_not_repeated() -> None:
    """Agent Framework repeats the text at the end. Only the missing part becomes a delta, and the item closes."""
    events, output = received(TEXT, DONE, Delta(DeltaKind.TEXT, "c", "m"))
    assert rebuilt(events) == {0: "ab", 1: "c"}
    assert [item["content"][0]["text"] for item in output] == ["ab", "c"]


def test_a_rewritten_text_is_correct_in_the_done_event() -> None:
    """Deltas cannot be taken back. The `done` events and the output have the valid text."""
    events, output = received(Delta(DeltaKind.TEXT, "xy", "m"), DONE)
    assert rebuilt(events) == {0: "xy"}
    assert [event["text"] for event in events if event["type"].endswith("text.done")] == ["ab"]
    assert output[0]["content"][0]["text"] == "ab"


def test_calls_may_be_open_side_by_side() -> None:
    """The arguments of calls may alternate. Later deltas need not name their call."""
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


def test_a_repeated_call_is_emitted_once() -> None:
    """Some clients repeat a whole call after its end."""
    events, output = received(
        Delta(DeltaKind.CALL, "{}", "c", "t", is_whole=True), Delta(DeltaKind.CALL, "{}", "c", "t", is_whole=True)
    )
    assert kinds(events).count("output_item.added") == len(output) == 1


def test_an_empty_text_is_not_an_item() -> None:
    """Some clients open and close parts with an empty text."""
    assert received(Delta(DeltaKind.TEXT, "", "m"), Delta(DeltaKind.REASONING, "", "r")) == ([], [])


def test_a_refusal_is_a_refusal_part() -> None:
    """A refusal has its own type of part and of events."""
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
    """In any order of deltas, indexes have no gaps, events lie within their item, and `done` items are the output."""
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
    """Without any details there is no usage. A missing total is the sum of the other counts."""
    used = total_usage(details)
    assert (used and (used["input_tokens"], used["output_tokens"], used["total_tokens"])) == expected
