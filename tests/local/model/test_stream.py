"""The simulated model's streams: order and numbers, resuming, cancelling, disconnecting."""

import json
import tracemalloc
from typing import Any

import openai
import pytest

from local.model.events import live, timeline
from local.model.simulation import Simulation
from tests.support.peer_processes import ModelPeer, error_of, eventually

TEXT = "The table is the truth. A message is a hint."


def left_after(model: ModelPeer, name: str, count: int, **fields: Any) -> list[dict[str, Any]]:
    """Return the first events of a streamed create call whose client then disconnects."""
    with model.streaming(name, input=TEXT, **fields) as stream:
        return [next(stream) for _ in range(count)]


def test_events_come_in_the_order_of_the_contract(model: ModelPeer) -> None:
    """A stream is numbered from 0: created, queued, in progress, an item with its parts, completed."""
    seen = model.streamed("sim-0.2s", input=TEXT, background=True)
    kinds = [event["type"].removeprefix("response.") for event in seen]
    deltas = [event["delta"] for event in seen if event["type"] == "response.output_text.delta"]
    assert kinds == [
        *("created", "queued", "in_progress", "output_item.added", "content_part.added"),
        *["output_text.delta"] * len(deltas),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    final = seen[-1]["response"]
    assert "".join(deltas) == final["output"][0]["content"][0]["text"]
    assert model.get(final["id"]).json() == final


def test_the_sdk_reads_a_stream_to_the_final_response(model: ModelPeer) -> None:
    """The SDK's strict reader accepts a foreground stream and returns its final response."""
    with model.sdk.responses.stream(model="sim-0.2s", input=TEXT) as stream:
        stream.until_done()
        final = stream.get_final_response()
    assert "simulated by sim-0.2s" in final.output_text


def test_the_sdk_resumes_a_background_stream(model: ModelPeer) -> None:
    """A client that disconnected receives exactly the events that it has not seen, up to the last one."""
    first = left_after(model, "sim-1s", 5, background=True)
    response_id = first[0]["response"]["id"]
    rest = model.sdk.responses.retrieve(response_id, stream=True, starting_after=4)
    assert [event.sequence_number for event in rest] == list(range(5, 5 + len(model.replayed(response_id, 4))))
    assert model.stats()["aborted"] == 0


def test_a_replay_repeats_every_event(model: ModelPeer) -> None:
    """A replay from the start has the same events. A replay after the last event is empty."""
    seen = model.streamed("sim-0.1s", input=TEXT, background=True)
    response_id = seen[0]["response"]["id"]
    assert model.replayed(response_id) == seen
    assert model.replayed(response_id, seen[-1]["sequence_number"]) == []


def test_a_cancelled_stream_ends_as_failed(model: ModelPeer) -> None:
    """A cancel ends the stream at once.

    Its last event is `response.failed`, with a cancelled response and the next number.
    """
    response_id = left_after(model, "sim-5s", 4, background=True)[0]["response"]["id"]
    with model.replaying(response_id) as stream:
        seen = [next(stream) for _ in range(4)]
        model.sdk.responses.cancel(response_id)
        seen += stream
    assert (seen[-1]["type"], seen[-1]["response"]["status"]) == ("response.failed", "cancelled")
    assert [event["sequence_number"] for event in seen] == list(range(len(seen)))
    assert model.replayed(response_id) == seen


def test_a_foreground_stream_stops_when_its_client_disconnects(model: ModelPeer) -> None:
    """A foreground stream whose client disconnects is stopped and counted as aborted."""
    left_after(model, "sim-60s", 2)
    eventually(lambda: bool(model.stats()["aborted"] == 1))


def test_a_failing_stream_ends_with_its_error(model: ModelPeer) -> None:
    """A failed stream has no items, and its last event contains the error."""
    seen = model.streamed("sim-fail-0.1s")
    assert [event["type"] for event in seen[1:]] == ["response.in_progress", "response.failed"]
    assert seen[-1]["response"]["error"]["code"] == "server_error"


def test_a_tool_call_is_streamed(model: ModelPeer) -> None:
    """The arguments are streamed in deltas, and their last event names the function."""
    tool = {
        "type": "function",
        "name": "find",
        "parameters": {"required": ["what"], "properties": {"what": {}}},
    }
    seen = model.streamed("sim-tool", input=TEXT, tools=[tool])
    done = next(event for event in seen if event["type"] == "response.function_call_arguments.done")
    deltas = [event["delta"] for event in seen if event["type"] == "response.function_call_arguments.delta"]
    assert (done["name"], done["arguments"]) == ("find", "".join(deltas))
    assert json.loads(done["arguments"]) == {"what": TEXT}


@pytest.mark.parametrize(
    ("fields", "text"), [({"background": True}, "stream=true"), ({"stream": True}, "background=true")]
)
def test_only_a_streamed_background_response_can_be_resumed(
    model: ModelPeer, fields: dict[str, bool], text: str
) -> None:
    """Any other response gets a 400 that says what was missing in the create call."""
    response_id = instant(model, fields)
    refused = model.http.get(f"/v1/responses/{response_id}?stream=true")
    assert error_of(refused) == (400, "stream", None)
    assert refused.json()["error"]["message"].endswith(f"it was not created with {text}.")


def instant(model: ModelPeer, fields: dict[str, bool]) -> str:
    """Create a response that is finished at once, streamed or not, and return its id."""
    if fields.get("stream"):
        return str(model.streamed("sim-instant", **fields)[0]["response"]["id"])
    return str(model.create("sim-instant", **fields).json()["id"])


def test_a_starting_after_that_is_not_an_integer_is_refused(model: ModelPeer) -> None:
    """A replay whose `starting_after` is not an integer is answered with a 400 that names the parameter."""
    response_id = model.streamed("sim-instant", background=True)[0]["response"]["id"]
    refused = model.http.get(f"/v1/responses/{response_id}?stream=true&starting_after=x")
    assert error_of(refused) == (400, "starting_after", None)


def test_the_sdk_raises_on_a_stream_that_is_refused(model: ModelPeer) -> None:
    """A refusal before the first event is an ordinary error answer."""
    with pytest.raises(openai.BadRequestError, match="does not exist"):
        model.sdk.responses.create(model="gpt-7", input=TEXT, stream=True)


def test_events_are_spread_over_the_duration_of_the_model() -> None:
    """Ages never decrease. The text starts after a tenth of the duration, and the last event is at its end."""
    work = Simulation(0).start({"model": "sim-10s", "background": True, "input": TEXT}, None, now_s=0)
    ages = [after_s for after_s, _ in timeline(work)]
    assert ages == sorted(ages)
    assert (ages[:3], ages[-1]) == ([0, 0, 1], 10)
    assert all(1 < after_s < 10 for after_s in ages[3:-1])


async def test_a_slow_reader_gets_no_events_from_after_a_cancel() -> None:
    """A reader that continues long after a cancel gets the events before it and then the last one, as in a replay."""
    work = Simulation(0).start({"model": "sim-10s", "background": True, "input": TEXT}, None, now_s=0)
    stream = live(work, 0, lambda: 9.0)
    seen = [await anext(stream) for _ in range(3)]
    work.stop(5)
    seen += [event async for event in stream]
    assert seen == [event for _, event in timeline(work)]
    assert (seen[-1]["type"], seen[-1]["response"]["status"]) == ("response.failed", "cancelled")


def test_a_reader_never_holds_a_whole_stream() -> None:
    """Reading 100,000 events takes less than 10 MB of memory, which is a few copies of their text."""
    work = Simulation(0).start({"model": "sim-events-100000"}, None, now_s=0)
    assert len(work.output[0]["content"][0]["text"]) > 500_000
    tracemalloc.start()
    read = sum(1 for _ in timeline(work))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert read > 100_000
    assert peak < 10_000_000
