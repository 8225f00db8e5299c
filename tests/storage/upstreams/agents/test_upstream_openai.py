"""Agents whose model works in the background, with Agent Framework's OpenAI client and the simulated model."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from functools import partial
from typing import Any

import pytest
from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient
from openai import AsyncOpenAI

from shared.core.alarms import Kind
from shared.core.records import Record
from shared.storage.messages import RunOffer
from shared.upstreams.agents.upstream import PREFIX, AgentUpstream
from tests.support.conditions import until
from tests.support.fakes.agents import AGENT, Script, StaffOf, Weather, spoken
from tests.support.peer_processes import ModelPeer
from tests.support.run_holders import die, driving, reaches, run_on
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import kinds, numbers, replayed, streamed, text

Employ = Callable[..., None]


class OpenAIStaff:
    """One agent that calls the simulated model through Agent Framework's own client of the Responses API."""

    def __init__(self, sdk: AsyncOpenAI, model: str, tools: list[Callable[..., Any]]) -> None:
        self.scripts: Mapping[str, Script | None] = {"clerk": None}
        self._sdk, self._model, self._tools = sdk, model, tools

    def made(self, _name: str) -> Agent[Any]:
        """Return a new agent."""
        return Agent(client=OpenAIChatClient(model=self._model, async_client=self._sdk), tools=self._tools)


@pytest.fixture
async def hire(stage: Stage, model: ModelPeer) -> AsyncIterator[Employ]:
    """Give a function that employs an agent with a model and tools."""
    async with AsyncOpenAI(base_url=str(model.sdk.base_url), api_key="any", max_retries=0, timeout=10) as sdk:

        def employ_over(name: str, *tools: Callable[..., Any]) -> None:
            stage.register_agent(PREFIX, AgentUpstream(StaffOf(OpenAIStaff(sdk, name, list(tools)))))

        yield employ_over


async def has_stalled(model: ModelPeer) -> None:
    """Wait until the model's stream has fallen silent, which it does once, for whoever reads it then."""

    async def is_so() -> bool:
        return bool(model.stats()["stalled"] == 1)

    await until(is_so)


async def test_the_background_work_of_a_model_is_polled_by_holders(
    stage: Stage, hire: Employ, model: ModelPeer
) -> None:
    """A model's background work is created once and polled by several holders. Its answer is the response's."""
    hire("sim-0.5s")
    made = await stage.create(model=AGENT)
    assert await run_on(stage, made.id) > 1
    shown = await stage.shown(made.id)
    assert (shown["status"], shown["usage"]["output_tokens"] > 0) == ("completed", True)
    assert spoken(shown).startswith("This answer is simulated")
    assert (model.stats()["creates"], (await stage.record(made.id)).upstream.starts) == (1, 1)


async def test_tools_run_between_two_pieces_of_background_work(
    stage: Stage, hire: Employ, model: ModelPeer, tool: Weather
) -> None:
    """The first background work ends with a tool call, and the second starts with its result.

    No process waits for either of them.
    """
    hire("sim-tool", tool.weather)
    made = await stage.create(model=AGENT, input="Bonn")
    await run_on(stage, made.id)
    shown = await stage.shown(made.id)
    assert [item["type"] for item in shown["output"]] == ["function_call", "function_call_output", "message"]
    assert "the output of weather" in spoken(shown)
    assert shown["usage"]["input_tokens"] == used(model)
    assert (tool.asked, model.stats()["creates"]) == (["Bonn"], 2)


def used(model: ModelPeer) -> int:
    """Return the input tokens of all answers of the model."""
    return sum(model.get(one).json()["usage"]["input_tokens"] for one in model.stats()["started"])


async def test_a_tool_is_not_called_again_after_a_crash_between_two_pieces(
    stage: Stage, hire: Employ, model: ModelPeer, tool: Weather
) -> None:
    """A process may crash while it passes a tool's result to the model.

    The next one finds the call by the token, and its saved result.
    """
    hire("sim-tool", tool.weather)
    made = await stage.create(model=AGENT, input="Bonn")
    await stage.engine.drive(RunOffer(made.id, 1))
    model.faults(create_latency_s=60)
    epoch = 2
    while not tool.asked:
        await stage.fire_alarms(made.id)
        running = driving(stage.engine, made.id, epoch)
        await reaches(stage, made.id, partial(_is_paused_or_called, epoch))
        epoch += 1
    await die(running)
    model.faults(create_latency_s=0)
    await stage.fire_alarms(made.id)
    await run_on(stage, made.id)
    assert (tool.asked, (await stage.shown(made.id))["status"]) == (["Bonn"], "completed")


def _is_paused_or_called(epoch: int, record: Record) -> bool:
    return record.run.epoch > epoch or record.upstream.checkpoints > 1


async def test_a_cancel_reaches_the_model_of_a_run_that_is_paused(stage: Stage, hire: Employ, model: ModelPeer) -> None:
    """A cancel of a paused run stops the model through the `stop` alarm, which calls the chat client's SDK.

    No process holds the run at that time.
    """
    hire("sim-60s")
    made = await stage.create(model=AGENT)
    await stage.engine.drive(RunOffer(made.id, 1))
    await stage.engine.cancel(ANN, made.id)
    model.faults(outage="503")
    await stage.sweep(made.id)
    assert Kind.STOP in await stage.kinds(made.id)
    model.faults(outage=False)
    stage.clock.advance(120)
    await stage.sweep(made.id)
    assert await stage.kinds(made.id) == [Kind.PURGE]
    assert model.stats()["cancels"] == 2
    assert (await stage.shown(made.id))["status"] == "cancelled"


async def test_a_stream_is_resumed_by_its_token_after_a_crash(stage: Stage, hire: Employ, model: ModelPeer) -> None:
    """After a crash, a stream is resumed from its start by its token, and readers get a second `in_progress`.

    No work is started again.
    """
    hire("sim-0.5s")
    model.faults(stream_stall_after=8)
    reader = await streamed(stage, model=AGENT)
    running = driving(stage.engine, reader.id, 1)
    await reader.take(5)
    await reaches(stage, reader.id, lambda record: record.log.next_seq > 4)
    await has_stalled(model)
    await die(running)
    await stage.fire_alarms(reader.id)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    seen = await reader.rest()
    shown = await stage.shown(reader.id)
    assert (kinds(seen).count("in_progress"), text(seen)) == (2, spoken(shown))
    assert numbers(seen) == sorted(set(numbers(seen)))
    assert (model.stats()["creates"], (await stage.record(reader.id)).upstream.starts) == (1, 1)


async def test_output_from_before_the_token_is_sent_again(
    stage: Stage, hire: Employ, model: ModelPeer, tool: Weather
) -> None:
    """After a crash in the second background work, the next holder sends the tool call and its result again.

    The events of the second work follow.
    """
    hire("sim-tool", tool.weather)
    model.faults(stream_stall_after=12)
    reader = await streamed(stage, model=AGENT, input="Bonn")
    running = driving(stage.engine, reader.id, 1)
    await reaches(stage, reader.id, lambda record: record.upstream.checkpoints == 3)
    await has_stalled(model)
    await die(running)
    await stage.fire_alarms(reader.id)
    await (await stage.process()).drive(RunOffer(reader.id, 2))
    seen = await replayed(stage, reader.id)
    output = (await stage.shown(reader.id))["output"]
    assert [item["type"] for item in output] == ["function_call", "function_call_output", "message"]
    assert [event["item"] for _, event in seen if event["type"] == "response.output_item.done"] == output
    assert (tool.asked, model.stats()["creates"]) == (["Bonn"], 2)


async def test_a_stream_that_breaks_is_resumed_by_its_token(stage: Stage, hire: Employ, model: ModelPeer) -> None:
    """A broken stream is resumed by its token. Agent Framework does not report the break, but the token remains."""
    hire("sim-0.5s")
    model.faults(stream_drop_after=6)
    reader = await streamed(stage, model=AGENT)
    await stage.engine.drive(RunOffer(reader.id, 1))
    seen = await reader.rest()
    assert kinds(seen)[-1] == "completed"
    assert text(seen) == spoken(await stage.shown(reader.id))
    assert model.stats()["creates"] == 1


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("name", "status"), [("sim-fail-0.2s", "failed"), ("sim-incomplete-0.2s", "incomplete")])
async def test_the_end_of_the_model_is_the_end_of_the_response(
    stage: Stage, hire: Employ, name: str, status: str, *, stream: bool
) -> None:
    """A model's failed or incomplete response is not taken for an answer.

    Agent Framework shows a failure only in the SDK's object.
    """
    hire(name)
    response_id = (await streamed(stage, model=AGENT)).id if stream else (await stage.create(model=AGENT)).id
    await run_on(stage, response_id)
    shown = await stage.shown(response_id)
    assert shown["status"] == status
    assert shown["error"] or shown["incomplete_details"]["reason"] == "max_output_tokens"


async def test_a_model_that_is_unavailable_is_polled_later(stage: Stage, hire: Employ, model: ModelPeer) -> None:
    """An outage of the model between two polls fails nothing, because the work goes on.

    The model is polled again later.
    """
    hire("sim-0.2s")
    made = await stage.create(model=AGENT)
    await stage.engine.drive(RunOffer(made.id, 1))
    model.faults(outage="503")
    await stage.fire_alarms(made.id)
    running = asyncio.create_task(run_on(stage, made.id))

    async def is_asked() -> bool:
        return bool(model.stats()["retrieves"] > 0)

    await until(is_asked)
    model.faults(outage=False)
    await running
    assert (await stage.shown(made.id))["status"] == "completed"


async def test_a_session_that_the_service_keeps_is_continued(stage: Stage, hire: Employ, model: ModelPeer) -> None:
    """The model's service keeps the conversation, and the next turn names its last response."""
    hire("sim-0.2s")
    first = await stage.create(model=AGENT, input="Rivers rise.")
    await run_on(stage, first.id)
    second = await stage.create(model=AGENT, input="Lakes lie.", previous_response_id=first.id)
    await run_on(stage, second.id)
    answer = spoken(await stage.shown(second.id))
    assert "Rivers rise" in answer
    assert "Lakes lie" in answer
    assert model.stats()["creates"] == 2
