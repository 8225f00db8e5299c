"""Synthesized events: readers of them end with the output itself, and no upstream's output makes them fail."""

import json
from collections.abc import Iterable
from typing import Any, get_args

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from openai import Omit
from openai._models import construct_type_unchecked
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ParsedResponse, ResponseStreamEvent
from pydantic import TypeAdapter

from shared.contract.synthesized_events import output_events

Json = dict[str, Any]
ID = "resp_0123456789abcdef0123456789abcdef"
EVENT: Any = ResponseStreamEvent
STRICT: TypeAdapter[Any] = TypeAdapter(EVENT)
KNOWN = {kind for event in get_args(get_args(EVENT)[0]) for kind in get_args(event.model_fields["type"].annotation)}

CITATION = {"type": "url_citation", "url": "https://example.org", "title": "t", "start_index": 0, "end_index": 5}
LOGPROB = {"token": "Hello", "bytes": [72], "logprob": -0.1, "top_logprobs": []}


def part(text: str, **fields: Any) -> Json:
    """Return a part of a message with this text."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": [], **fields}


def message(item_id: str, *content: Json) -> Json:
    """Return a finished message."""
    return {"id": item_id, "type": "message", "role": "assistant", "status": "completed", "content": list(content)}


HELLO = message("msg_1", part("Hello "), part("world"))
CITED = message("msg_2", part("Hello", annotations=[CITATION, CITATION], logprobs=[LOGPROB]))
REFUSAL = message("msg_3", {"type": "refusal", "refusal": "I would rather not."})
WEATHER = {"name": "weather", "arguments": '{"city": "Oslo"}'}
CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "status": "completed", **WEATHER}
REASONING = {
    "id": "rs_1",
    "type": "reasoning",
    "summary": [{"type": "summary_text", "text": "First"}, {"type": "summary_text", "text": "Second"}],
    "content": [{"type": "reasoning_text", "text": "Long thought"}],
    "encrypted_content": "gAAA",
}
SEARCH = {"id": "ws_1", "type": "web_search_call", "status": "completed", "action": {"type": "search", "query": "a"}}
CUSTOM = {"id": "ct_1", "type": "custom_tool_call", "call_id": "call_2", "name": "run", "input": "ls"}
ALL = [REASONING, SEARCH, HELLO, CALL, CUSTOM, CITED, REFUSAL, message("msg_4"), message("msg_5", part(""))]


def response(status: str, output: Iterable[Any] = ()) -> Json:
    """Return a response object."""
    return {"id": ID, "object": "response", "created_at": 0, "model": "m", "status": status, "output": list(output),
            "parallel_tool_calls": True, "tool_choice": "auto", "tools": []}  # fmt: skip


def stream(output: list[Any]) -> list[Json]:
    """Return a whole stream whose output is synthesized."""
    events = [
        {"type": "response.created", "response": response("queued")},
        {"type": "response.in_progress", "response": response("in_progress")},
        *output_events(output),
        {"type": "response.completed", "response": response("completed", output)},
    ]
    return [json.loads(orjson.dumps(event | {"sequence_number": number})) for number, event in enumerate(events)]


class Reader:
    """The accumulator behind `client.responses.stream` of the OpenAI SDK, without its connection."""

    def __init__(self) -> None:
        self.state: ResponseStreamState[Any] = ResponseStreamState(input_tools=Omit(), text_format=Omit())
        self.fired: list[Any] = []

    def read(self, events: list[Json]) -> Any:
        """Process events, and return the last one as the SDK returns it."""
        for event in events:
            self.fired += self.state.handle_event(construct_type_unchecked(type_=EVENT, value=event))
        return self.fired[-1]


def rebuilt(output: list[Any]) -> list[Json]:
    """Return the items that the SDK builds from added items and deltas."""
    reader = Reader()
    reader.read(stream(output)[:-1])
    items = reader.state._output_items
    return [items[index].to_dict() for index in sorted(items)]


def final_of(output: list[Any]) -> ParsedResponse[Any]:
    """Return the final response of the SDK."""
    final: ParsedResponse[Any] = Reader().read(stream(output)).response
    return final


def without(name: str, value: Json) -> Json:
    """Return an object without a field."""
    return {other: inner for other, inner in value.items() if other != name}


def kinds(output: list[Any]) -> list[str]:
    """Return the types of the synthesized events of an output, without their common prefix."""
    return [event["type"].removeprefix("response.") for event in output_events(output)]


def of(kind: str, output: list[Any]) -> list[Json]:
    """Return the events of one type, without their type."""
    return [without("type", event) for event in output_events(output) if event["type"] == f"response.{kind}"]


def test_the_sdk_ends_with_the_text() -> None:
    """The joined deltas, the last snapshot and the final response agree with the output."""
    reader = Reader()
    final = reader.read(stream([REASONING, HELLO, CALL, CITED])).response
    deltas = [one for one in reader.fired if one.type == "response.output_text.delta"]
    assert final.output_text == "Hello worldHello"
    assert "".join(one.delta for one in deltas) == final.output_text
    assert [one.snapshot for one in deltas] == ["Hello ", "world", "Hello"]


def test_the_sdk_rebuilds_messages_and_calls_from_deltas() -> None:
    """Added items and deltas give the whole item except for its final status."""
    hello, call = rebuilt([HELLO, CALL])
    assert hello == HELLO | {"status": "in_progress"}
    assert call == CALL | {"status": "in_progress"}


@pytest.mark.parametrize("output", [[], [HELLO], [CALL], [REASONING], [SEARCH], [REFUSAL], ALL])
def test_every_event_has_the_fields_that_the_sdk_declares(output: list[Json]) -> None:
    """Events are validated strictly against the SDK's types, which the SDK itself does not do."""
    for number, event in enumerate(output_events(output)):
        assert STRICT.validate_python(event | {"sequence_number": number}).type == event["type"]


def test_a_message_is_synthesized_part_by_part() -> None:
    """An item is added empty, each text has one delta, then comes `done`. Each event has its indexes."""
    place = {"output_index": 0, "item_id": "msg_1"}
    first, second = place | {"content_index": 0}, place | {"content_index": 1}
    begun = HELLO | {"content": [], "status": "in_progress"}
    assert output_events([HELLO]) == [
        {"type": "response.output_item.added", "output_index": 0, "item": begun},
        {"type": "response.content_part.added", **first, "part": part("")},
        {"type": "response.output_text.delta", **first, "delta": "Hello ", "logprobs": []},
        {"type": "response.output_text.done", **first, "text": "Hello ", "logprobs": []},
        {"type": "response.content_part.done", **first, "part": part("Hello ")},
        {"type": "response.content_part.added", **second, "part": part("")},
        {"type": "response.output_text.delta", **second, "delta": "world", "logprobs": []},
        {"type": "response.output_text.done", **second, "text": "world", "logprobs": []},
        {"type": "response.content_part.done", **second, "part": part("world")},
        {"type": "response.output_item.done", "output_index": 0, "item": HELLO},
    ]


def test_each_annotation_has_an_event() -> None:
    """Annotation events come between the delta of a text and its `done`, for readers that take citations from them."""
    assert kinds([CITED])[2:6] == ["output_text.delta", *["output_text.annotation.added"] * 2, "output_text.done"]
    assert [one["annotation_index"] for one in of("output_text.annotation.added", [CITED])] == [0, 1]
    assert of("content_part.added", [CITED])[0]["part"] == part("")
    assert of("content_part.done", [CITED])[0]["part"] == CITED["content"][0]


def test_a_refusal_has_refusal_events() -> None:
    """A refusal has its own type of delta, and no text delta."""
    place = {"output_index": 0, "item_id": "msg_3", "content_index": 0}
    assert of("refusal.delta", [REFUSAL]) == [place | {"delta": "I would rather not."}]
    assert of("refusal.done", [REFUSAL]) == [place | {"refusal": "I would rather not."}]
    assert of("content_part.added", [REFUSAL])[0]["part"] == {"type": "refusal", "refusal": ""}
    assert not of("output_text.delta", [REFUSAL])


def test_a_call_is_synthesized_with_its_name() -> None:
    """The arguments have one delta. `done` repeats the name of the function."""
    place = {"output_index": 1, "item_id": "fc_1"}
    output = [SEARCH, CALL]
    assert of("output_item.added", output)[1]["item"] == CALL | {"arguments": "", "status": "in_progress"}
    assert of("function_call_arguments.delta", output) == [place | {"delta": CALL["arguments"]}]
    assert of("function_call_arguments.done", output) == [place | WEATHER]


def test_the_summary_of_reasoning_comes_first() -> None:
    """The parts of the summary come before the reasoning text, which open models give."""
    place = {"output_index": 0, "item_id": "rs_1"}
    assert of("output_item.added", [REASONING])[0]["item"] == REASONING | {"summary": [], "content": []}
    assert of("reasoning_summary_text.delta", [REASONING]) == [
        place | {"summary_index": 0, "delta": "First"},
        place | {"summary_index": 1, "delta": "Second"},
    ]
    assert [one["part"] for one in of("reasoning_summary_part.done", [REASONING])] == REASONING["summary"]
    order = kinds([REASONING])
    assert order.index("reasoning_summary_part.added") < order.index("content_part.added")
    assert of("reasoning_text.done", [REASONING]) == [place | {"content_index": 0, "text": "Long thought"}]


@pytest.mark.parametrize("item", [SEARCH, CUSTOM, {"id": "x_1", "type": "of_tomorrow", "content": [part("a")]}])
def test_any_other_item_has_added_and_done_events_only(item: Json) -> None:
    """An item of another type has two events. The added item is `in_progress`, if it has a status at all."""
    begun = {"status": "in_progress"} if "status" in item else {}
    assert output_events([item]) == [
        {"type": "response.output_item.added", "output_index": 0, "item": item | begun},
        {"type": "response.output_item.done", "output_index": 0, "item": item},
    ]


def test_items_without_an_id_get_one_from_their_index() -> None:
    """The ids are constant and differ from each other, because the SDK refuses items that it cannot distinguish."""
    nameless = [without("id", HELLO), HELLO | {"id": None}]
    assert output_events(nameless) == output_events(nameless)
    assert [one["item"]["id"] for one in of("output_item.done", nameless)] == ["item_0", "item_1"]
    assert {one["item_id"] for one in of("output_text.delta", nameless)} == {"item_0", "item_1"}
    assert final_of(nameless).output_text == "Hello world" * 2
    assert of("output_item.done", [HELLO | {"id": 5}]) == of("output_item.done", [HELLO | {"id": ""}])


def test_a_call_without_an_id_does_not_get_one() -> None:
    """A call is identified by its call id. The SDK refuses a final response in which an earlier id is missing."""
    nameless = without("id", CALL)
    assert final_of([nameless]).output[0].to_dict()["call_id"] == "call_1"
    assert of("output_item.done", [nameless])[0]["item"] == nameless
    assert of("function_call_arguments.delta", [nameless])[0]["item_id"] == "item_0"


def test_values_that_are_not_items_or_parts_are_left_out() -> None:
    """Only items and parts are numbered, without gaps, because readers append."""
    odd = message("msg_1", part("a"))
    odd["content"] = [None, 5, "text", [], {}, {"type": ["output_text"]}, *odd["content"]]
    output = [None, 5, "text", [HELLO], {}, {"type": None}, odd]
    (delta,) = of("output_text.delta", output)
    assert (delta["output_index"], delta["content_index"]) == (0, 0)
    assert rebuilt(output)[0]["content"] == [part("a")]


def test_the_given_output_is_not_changed() -> None:
    """The output is not changed, because the same object is sent in the terminal event."""
    before = json.dumps(ALL)
    output_events(ALL)
    assert json.dumps(ALL) == before


@pytest.mark.parametrize("content", [None, 5, "text", {"type": "output_text", "text": "a"}, [None], [{"text": "a"}]])
def test_a_message_with_invalid_content_has_no_parts(content: object) -> None:
    """A message without usable content has `added` and `done` only."""
    for item in (HELLO | {"content": content}, without("content", HELLO)):
        assert kinds([item]) == ["output_item.added", "output_item.done"]
        assert of("output_item.added", [item])[0]["item"]["content"] == []


def test_an_unknown_part_has_added_and_done_events_only() -> None:
    """An unknown part is sent whole. Only texts have deltas, and only output texts have annotations."""
    foreign = {"type": "of_tomorrow", "data": [1]}
    refusal = {"type": "refusal", "refusal": "no", "annotations": [CITATION]}
    order = kinds([message("msg_1", foreign, refusal)])
    assert order[1:3] == ["content_part.added", "content_part.done"]
    assert order[3:-1] == ["content_part.added", "refusal.delta", "refusal.done", "content_part.done"]
    assert of("content_part.done", [message("msg_1", foreign)])[0]["part"] == foreign


FIELDS = ("id", "type", "call_id", "status", "content", "summary", "text", "refusal", "arguments", "annotations")
TYPES = ("message", "reasoning", "function_call", "output_text", "refusal", "reasoning_text", "summary_text")
words = st.sampled_from([*FIELDS, *TYPES])
scalars = st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.text(max_size=5) | words
hostile = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=6), max_leaves=30
)


def spoiled(values: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    """Return such objects, each with one field that has an arbitrary value."""
    return st.builds(lambda value, name, anything: value | {name: anything}, values, words, hostile)


parts = st.sampled_from([*HELLO["content"], *CITED["content"], *REFUSAL["content"], *REASONING["summary"]])
messages = st.lists(spoiled(parts), max_size=3).map(lambda content: message("msg_1", *content))
items = spoiled(st.sampled_from(ALL)) | spoiled(messages)


@given(st.lists(hostile | items, max_size=5) | st.lists(items, max_size=3))
def test_any_output_of_an_upstream_can_be_synthesized(output: list[Any]) -> None:
    """Any output gives events that can be sent. Each item is added, then done, with indexes from 0."""
    events = json.loads(orjson.dumps(output_events(output)))
    assert {event["type"] for event in events} <= KNOWN
    ends = [(event["type"], event["output_index"]) for event in events if ".output_item." in event["type"]]
    places = range(len(ends) // 2)
    assert ends == [(f"response.output_item.{kind}", place) for place in places for kind in ("added", "done")]


texts = st.lists(st.lists(st.text(max_size=20), max_size=3), max_size=4)


@settings(deadline=None)  # the time of the first example is that of the SDK's import
@given(texts)
def test_the_sdk_ends_with_any_text(given_texts: list[list[str]]) -> None:
    """Any number of messages and parts is rebuilt exactly from its synthesized events."""
    output = [message(f"msg_{n}", *map(part, texts)) for n, texts in enumerate(given_texts)]
    assert final_of(output).output_text == "".join(map("".join, given_texts))
    assert rebuilt(output) == [one | {"status": "in_progress"} for one in output]
