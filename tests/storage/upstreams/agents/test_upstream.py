"""Agents as an upstream that run to their end, with the real Agent Framework and a scripted chat client."""

from typing import Any

import pytest
from agent_framework import Content

from shared.core.errors import BadRequest
from shared.storage.messages import RunOffer
from tests.support.fakes.agents import AGENT, Script, Weather, rainy, ran, received, register_agent, says, spoken
from tests.support.stage import CALLBACK_URL, Stage
from tests.support.stream_clients import kinds, numbers, offers, replayed, streamed, text

ITEM = ["output_item.added", "output_item.done"]
TEXT = ["output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done"]
CALL = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]


# Runs to the end


async def test_an_agent_is_run_to_its_end(stage: Stage, tool: Weather) -> None:
    """The output has the agent's tool calls, their results and its text, in order. The callback is sent."""
    rainy(stage, tool)
    shown = await ran(stage, callback_url=CALLBACK_URL)
    assert (shown["status"], shown["model"], spoken(shown)) == ("completed", AGENT, "It rains.")
    assert [item["type"] for item in shown["output"]] == ["function_call", "function_call_output", "message"]
    assert shown["output"][1]["output"] == "rain in Bonn"
    assert tool.asked == ["Bonn"]
    assert (shown["usage"]["input_tokens"], shown["usage"]["total_tokens"]) == (5, 7)
    await stage.deliver()
    assert len(stage.receiver.posts) == 1


async def test_an_agent_is_not_called_before_a_process_holds_its_run(stage: Stage, tool: Weather) -> None:
    """Neither creating nor reading a response calls the agent. The run is only offered."""
    script = rainy(stage, tool)
    made = await stage.create(model=AGENT)
    assert (await stage.shown(made.id))["status"] == "queued"
    assert (script.options, tool.asked, offers(stage, made.id)) == ([], [], [1])


async def test_the_updates_of_an_agent_become_the_events_of_a_stream(stage: Stage, tool: Weather) -> None:
    """An agent's updates become events in the contract's order, numbered without a gap.

    The last one has the same output.
    """
    rainy(stage, tool)
    reader = await received(stage)
    closing = ["content_part.done", "output_item.done"]
    assert kinds(reader.received) == ["created", "in_progress", *CALL, *ITEM, *TEXT, *closing, "completed"]
    assert numbers(reader.received) == list(range(len(reader.received)))
    last = reader.received[-1][1]["response"]
    done = [event["item"] for _, event in reader.received if event["type"] == "response.output_item.done"]
    assert (last["output"], text(reader.received)) == (done, "It rains.")
    assert last["usage"]["output_tokens"] == 2
    assert await replayed(stage, reader.id) == reader.received


async def test_the_reasoning_of_a_model_is_a_reasoning_item(stage: Stage) -> None:
    """A model's reasoning becomes an output item whose summary is streamed before the text."""
    thought = [Content.from_text_reasoning(id="r", text=word) for word in ("Rain", "?")]
    register_agent(stage, Script([[*thought, *says("No.")]]))
    reader = await received(stage)
    assert kinds(reader.received)[2:8] == [
        "output_item.added",
        "reasoning_summary_part.added",
        *["reasoning_summary_text.delta"] * 2,
        "reasoning_summary_text.done",
        "reasoning_summary_part.done",
    ]
    output = reader.received[-1][1]["response"]["output"]
    assert output[0]["summary"] == [{"type": "summary_text", "text": "Rain?"}]
    assert (output[1]["type"], text(reader.received)) == ("message", "No.")


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chat_client_that_rejects_background_work_is_called_without_it(stage: Stage, stream: bool) -> None:
    """A chat client that rejects background work is called again without it. Later calls do not ask for it."""
    script = register_agent(stage, Script(refuses_background=True))
    for _ in range(2):
        reader = await streamed(stage, model=AGENT) if stream else await stage.create(model=AGENT)
        await stage.engine.drive(RunOffer(reader.id, 1))
        assert spoken(await stage.shown(reader.id)) == "All well."
    assert [options.get("background") for options in script.options] == [True, None, None]


async def test_the_settings_of_the_request_reach_the_model(stage: Stage) -> None:
    """The request's settings reach the model. Its instructions are added to those of the agent.

    The input can be items of several kinds.
    """
    script = register_agent(stage)
    given = [{"role": "user", "content": "one"}, {"type": "message", "role": "assistant", "content": "two"}]
    await ran(stage, input=given, instructions="In verse.", temperature=0.5, max_output_tokens=9)
    assert script.asked == [["one", "two"]]
    options = script.options[0]
    assert options["instructions"].split("\n") == ["Be brief.", "In verse."]
    assert (options["temperature"], options["max_tokens"]) == (0.5, 9)


# Sessions


@pytest.mark.parametrize("stream", [False, True])
async def test_a_follow_up_continues_the_session(stage: Stage, stream: bool) -> None:
    """Over three turns in different processes, the model receives everything that was said before."""
    script = register_agent(stage)
    ids: list[str | None] = [None]
    for question in ("one", "two", "three"):
        asked: dict[str, Any] = {"model": AGENT, "input": question, "previous_response_id": ids[-1]}
        response_id = (await streamed(stage, **asked) if stream else await stage.create(**asked)).id
        await (await stage.process()).drive(RunOffer(response_id, 1))
        ids.append(response_id)
        shown = await stage.shown(response_id)
        assert (shown["status"], shown["previous_response_id"]) == ("completed", ids[-2])
    answered = [words.replace(" ", "") for words in script.asked[2]]
    assert answered == ["one", "Allwell.", "two", "Allwell.", "three"]


async def test_a_session_that_is_too_large_cannot_be_continued(stage: Stage) -> None:
    """A response completes even if its session is too large to keep.

    A request to continue it is refused with the reason.
    """
    rng = [chr(33 + n * n * 7919 % 90) + str(n * 2654435761 % 10**9) for n in range(330_000)]
    register_agent(stage, Script([says("".join(rng))]))
    shown = await ran(stage)
    assert shown["status"] == "completed"
    assert (await stage.record(shown["id"])).session_rows == 0
    with pytest.raises(BadRequest, match="left no session") as refused:
        await stage.create(model=AGENT, previous_response_id=shown["id"])
    assert (refused.value.param, refused.value.code) == ("previous_response_id", "session_not_found")


async def test_a_purge_removes_all_rows_of_an_agents_response(stage: Stage, tool: Weather) -> None:
    """A purge removes the checkpoints, session, events and input of an agent's response."""
    rainy(stage, tool)
    reader = await received(stage)
    for name in ("memo", "legacy", "event"):
        assert await stage.ports.store.children(reader.id, name)
    await stage.fire_alarms(reader.id)
    for name in ("memo", "legacy", "event", "input"):
        assert await stage.ports.store.children(reader.id, name) == []
    assert await stage.ports.store.read(reader.id) is None
