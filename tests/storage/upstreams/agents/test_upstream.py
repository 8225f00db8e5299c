"""Agents as upstream, run to their end: real Agent Framework, whose chat client follows a script."""

import pytest
from agent_framework import Content

from shared.core.errors import BadRequest
from shared.storage.messages import RunOffer
from tests.support.fakes.agents import AGENT, Script, Weather, employ, rainy, ran, received, says, spoken
from tests.support.stage import CALLBACK_URL, Stage
from tests.support.stream_clients import kinds, numbers, offers, replayed, streamed, text

ITEM = ["output_item.added", "output_item.done"]
TEXT = ["output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done"]
CALL = ["output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done"]


# To the end


async def test_an_agent_is_run_to_its_end(stage: Stage, tool: Weather) -> None:
    """Its calls, their results and its text are the output, in order; a callback tells of it."""
    rainy(stage, tool)
    shown = await ran(stage, callback_url=CALLBACK_URL)
    assert (shown["status"], shown["model"], spoken(shown)) == ("completed", AGENT, "It rains.")
    assert [item["type"] for item in shown["output"]] == ["function_call", "function_call_output", "message"]
    assert shown["output"][1]["output"] == "rain in Bonn"
    assert tool.asked == ["Bonn"]
    assert (shown["usage"]["input_tokens"], shown["usage"]["total_tokens"]) == (5, 7)
    await stage.deliver()
    assert len(stage.receiver.posts) == 1


async def test_nothing_is_run_before_a_runner_holds_it(stage: Stage, tool: Weather) -> None:
    """Neither the handler that accepts nor the one that reads calls the agent."""
    script = rainy(stage, tool)
    made = await stage.create(model=AGENT)
    assert (await stage.shown(made.id))["status"] == "queued"
    assert (script.options, tool.asked, offers(stage, made.id)) == ([], [], [1])


async def test_the_updates_of_an_agent_are_the_events_of_a_stream(stage: Stage, tool: Weather) -> None:
    """In the order of the contract and numbered without a gap; the last one holds the same output."""
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


async def test_what_a_model_thinks_is_a_reasoning_item(stage: Stage) -> None:
    """Its summary is told piece by piece, before the text."""
    thought = [Content.from_text_reasoning(id="r", text=word) for word in ("Rain", "?")]
    employ(stage, Script([[*thought, *says("No.")]]))
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
async def test_a_chat_client_that_refuses_background_work_is_asked_without(stage: Stage, stream: bool) -> None:
    """Once: from then on it is known."""
    script = employ(stage, Script(refuses_background=True))
    for _ in range(2):
        reader = await streamed(stage, model=AGENT) if stream else await stage.create(model=AGENT)
        await stage.engine.drive(RunOffer(reader.id, 1))
        assert spoken(await stage.shown(reader.id)) == "All well."
    assert [options.get("background") for options in script.options] == [True, None, None]


async def test_what_the_request_sets_reaches_the_model(stage: Stage) -> None:
    """Instructions add to those of the agent; the input may be items of several kinds."""
    script = employ(stage)
    given = [{"role": "user", "content": "one"}, {"type": "message", "role": "assistant", "content": "two"}]
    await ran(stage, input=given, instructions="In verse.", temperature=0.5, max_output_tokens=9)
    assert script.asked == [["one", "two"]]
    options = script.options[0]
    assert options["instructions"].split("\n") == ["Be brief.", "In verse."]
    assert (options["temperature"], options["max_tokens"]) == (0.5, 9)


# Sessions


@pytest.mark.parametrize("stream", [False, True])
async def test_a_follow_up_continues_the_session(stage: Stage, stream: bool) -> None:
    """Over three turns, each in another process: the model is told all that was said before."""
    script = employ(stage)
    previous = None
    for question in ("one", "two", "three"):
        made = await streamed(stage, model=AGENT, input=question, previous_response_id=previous) if stream else None
        previous = (made or await stage.create(model=AGENT, input=question, previous_response_id=previous)).id
        await (await stage.process()).drive(RunOffer(previous, 1))
    shown = await stage.shown(previous or "")
    assert (shown["status"], shown["previous_response_id"]) == ("completed", shown["previous_response_id"])
    answered = [words.replace(" ", "") for words in script.asked[2]]
    assert answered == ["one", "Allwell.", "two", "Allwell.", "three"]


async def test_a_session_that_is_too_large_ends_with_its_response(stage: Stage) -> None:
    """The response is completed all the same; to continue it is refused, with the reason."""
    rng = [chr(33 + n * n * 7919 % 90) + str(n * 2654435761 % 10**9) for n in range(330_000)]
    employ(stage, Script([says("".join(rng))]))
    shown = await ran(stage)
    assert shown["status"] == "completed"
    assert (await stage.record(shown["id"])).session_rows == 0
    with pytest.raises(BadRequest, match="left no session") as refused:
        await stage.create(model=AGENT, previous_response_id=shown["id"])
    assert (refused.value.param, refused.value.code) == ("previous_response_id", "session_not_found")


async def test_a_session_is_continued_where_it_began(stage: Stage) -> None:
    """Neither by another upstream, nor does an agent continue what another upstream answered."""
    employ(stage)
    ours, theirs = (await ran(stage))["id"], (await stage.ended()).id
    for model, previous in (("m", ours), (AGENT, theirs)):
        with pytest.raises(BadRequest) as refused:
            await stage.create(model=model, previous_response_id=previous)
        assert refused.value.param == "previous_response_id"


async def test_a_purge_removes_all_that_an_agent_left(stage: Stage, tool: Weather) -> None:
    """Facts, session, events: no row of the response is left."""
    rainy(stage, tool)
    reader = await received(stage)
    for name in ("memo", "legacy", "event"):
        assert await stage.ports.store.children(reader.id, name)
    await stage.ring(reader.id)
    for name in ("memo", "legacy", "event", "input"):
        assert await stage.ports.store.children(reader.id, name) == []
    assert await stage.ports.store.read(reader.id) is None
