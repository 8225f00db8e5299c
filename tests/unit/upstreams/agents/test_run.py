"""One run of an agent of the real Agent Framework: its events, its end, its pauses, and its calls of the chat client.

What a run saves and resumes from is in test_run_state.py.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import Any, Self

import orjson
import pytest
from agent_framework import Agent, ChatResponseUpdate, Content, Message

from shared.core.errors import UpstreamBroken, UpstreamPaused
from shared.core.states import Status
from shared.upstreams.agents.output_events import OutputBuilder
from shared.upstreams.agents.run import AgentRun, AgentState, terminal_event
from shared.upstreams.protocol import UpstreamEvent
from tests.support.fakes.agents import USAGE, Script, ScriptedChat, Weather, calls, says
from tests.unit.upstreams.agents.test_tools import MemoryCheckpoints

streamed_or_not = pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])


class Chat(ScriptedChat):
    """A scripted chat client that has to be opened and closed, and that records both."""

    def __init__(self, script: Script) -> None:
        super().__init__(script)
        self.states: list[str] = []

    async def __aenter__(self) -> Self:
        self.states.append("opened")
        return self

    async def __aexit__(self, *_: object) -> None:
        self.states.append("closed")


class BreakingChat(Chat):
    """A chat client whose stream ends with a continuation token, as one does whose connection breaks."""

    async def _updates(self, _messages: Sequence[Message], _options: Mapping[str, Any]) -> AsyncIterator[Any]:
        token: Any = {"response_id": "work_1"}
        yield ChatResponseUpdate(role="assistant", contents=[Content.from_text("Al")], continuation_token=token)


class Attempt:
    """One run by one process: an agent, what was saved before, and the events that it yields."""

    def __init__(self, chat: Chat, checkpoints: MemoryCheckpoints, *tools: Callable[..., Any], **fields: Any) -> None:
        self.chat = chat
        self.checkpoints = checkpoints
        self.request = {"model": "agent:clerk", "input": "question", **fields}
        self.events: list[UpstreamEvent] = []
        self._tools = list(tools)
        self.run: AgentRun | None = None

    async def begin(self) -> AgentRun:
        """Read what was saved, and return the run."""
        known = await self.checkpoints.load()
        state = AgentState(self.checkpoints, known, await self.checkpoints.previous_session())
        agent: Agent[Any] = Agent(client=self.chat, name="clerk", instructions="Be brief.", tools=self._tools)
        self.run = AgentRun(agent, self.request, OutputBuilder("x", state.output), state, state.session("resp_1"))
        return self.run

    async def finish(self, *, asks_background: bool = True) -> Self:
        """Run to the end and keep the events."""
        run = await self.begin()
        run.asks_background = asks_background
        async with aclosing(run.events(stopping)) as events:
            async for event in events:
                self.events.append(event)
        return self

    @property
    def answer(self) -> dict[str, Any]:
        """The response object of the last event."""
        return dict(self.events[-1].data["response"])

    def kinds(self) -> list[str]:
        """Return the types of the events, without their common prefix."""
        return [event.data["type"].removeprefix("response.") for event in self.events]


def stopping(token: Mapping[str, Any]) -> str:
    """Return the token that stops work of the chat client."""
    return f"stops {token['response_id']}"


def attempt(script: Script, *tools: Callable[..., Any], **fields: Any) -> Attempt:
    """Return a first attempt to run an agent that follows this script."""
    return Attempt(Chat(script), MemoryCheckpoints(), *tools, **fields)


def text_of(answer: dict[str, Any]) -> str:
    """Return the text of a response's messages."""
    return "".join(part["text"] for item in answer["output"] for part in item.get("content", ()))


# Events


@streamed_or_not
async def test_an_answer_ends_with_one_terminal_event(stream: bool) -> None:
    """The last event has the output, which is that of the `done` events, the usage and the session."""
    done = await attempt(Script(), stream=stream).finish()
    assert [kind for kind in done.kinds() if kind in {"completed", "failed", "incomplete"}] == ["completed"]
    assert (done.kinds()[-1], done.answer["status"], text_of(done.answer)) == ("completed", "completed", "All well.")
    items = [event.data["item"] for event in done.events if event.data["type"] == "response.output_item.done"]
    assert items == done.answer["output"]
    assert done.answer["usage"]["total_tokens"] == 7
    assert done.events[-1].session
    assert all(event.session is None for event in done.events[:-1])


async def test_a_stream_yields_each_part_as_a_delta() -> None:
    """The parts are those of the chat client, and the whole text is not repeated at the end."""
    done = await attempt(Script([says("All ", "", "well", ".")]), stream=True).finish()
    found = [event.data["delta"] for event in done.events if event.data["type"].endswith("text.delta")]
    assert found == ["All ", "well", "."]


@streamed_or_not
async def test_a_tool_is_called_with_the_models_arguments(stream: bool) -> None:
    """The call, its result and the text are items of the output, in this order."""
    tool = Weather()
    script = Script([[calls("weather", city="Bonn")], says("It ", "rains.")])
    done = await attempt(script, tool.weather, stream=stream).finish()
    output = done.answer["output"]
    assert [item["type"] for item in output] == ["function_call", "function_call_output", "message"]
    assert (tool.asked, output[1]["output"], text_of(done.answer)) == (["Bonn"], "rain in Bonn", "It rains.")


async def test_usage_is_the_sum_of_all_turns() -> None:
    """An agent that calls a tool asks its model twice."""
    turns = [[calls("weather", city="Bonn"), Content.from_usage(USAGE)], says("Rain.")]
    done = await attempt(Script(turns), Weather().weather).finish()
    assert (done.answer["usage"]["input_tokens"], done.answer["usage"]["total_tokens"]) == (10, 14)


async def test_without_a_report_there_is_no_usage() -> None:
    """Not every chat client reports usage."""
    done = await attempt(Script([[Content.from_text("All well.")]])).finish()
    assert done.answer["usage"] is None


# Ends


@streamed_or_not
async def test_an_agent_that_needs_an_approval_fails(stream: bool) -> None:
    """There is no user who could answer. Its session could not be continued either."""
    request = Content.from_function_approval_request("r", Content.from_function_call("c", "delete", arguments="{}"))
    done = await attempt(Script([[request]]), stream=stream).finish()
    assert (done.kinds()[-1], done.answer["error"]["code"]) == ("failed", "agent_needs_input")
    assert done.events[-1].session is None


@pytest.mark.parametrize(("reason", "shown"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_was_cut_is_incomplete(reason: str, shown: str) -> None:
    """The text so far and the session are kept, so the conversation can go on."""
    done = await attempt(Script(finish_reason=reason)).finish()
    assert (done.kinds()[-1], done.answer["incomplete_details"]) == ("incomplete", {"reason": shown})
    assert (text_of(done.answer), bool(done.events[-1].session)) == ("All well.", True)


@streamed_or_not
async def test_an_exception_of_the_agent_passes_through(stream: bool) -> None:
    """The upstream decides what it means. The chat client is closed, and there is no terminal event."""
    failing = attempt(Script(errors=[RuntimeError("geheim")]), stream=stream)
    with pytest.raises(RuntimeError):
        await failing.finish()
    assert (failing.events, failing.chat.states) == ([], ["opened", "closed"])


@pytest.mark.parametrize("status", [Status.COMPLETED, Status.FAILED, Status.INCOMPLETE])
def test_a_terminal_event_is_named_by_its_status(status: Status) -> None:
    """The response object has the status and the other fields."""
    session: dict[str, Any] = {"session": {"state": {}}}
    event = terminal_event(status, {"output": [], "usage": None}, session)
    answer: dict[str, Any] = {"status": str(status), "output": [], "usage": None}
    assert event == UpstreamEvent(None, {"type": f"response.{status}", "response": answer}, session=session)
    assert orjson.loads(orjson.dumps(event.data)) == event.data
    assert terminal_event(status, {}).session is None


# The chat client


async def test_the_request_becomes_messages_and_options() -> None:
    """The model gets the input and the request's options. Instructions are added to those of the agent."""
    script = Script()
    given = [{"role": "user", "content": "one"}, {"type": "message", "role": "assistant", "content": "two"}]
    await attempt(script, input=given, instructions="In verse.", temperature=0.5, max_output_tokens=9).finish()
    (options,) = script.options
    assert script.asked == [["one", "two"]]
    assert options["instructions"].split("\n") == ["Be brief.", "In verse."]
    assert (options["temperature"], options["max_tokens"], options["background"]) == (0.5, 9, True)
    assert "continuation_token" not in options


@streamed_or_not
async def test_the_chat_client_is_open_while_the_agent_runs(stream: bool) -> None:
    """It is opened before the first call and closed after the last one."""
    script = Script()
    gate = script.hold(0)
    running = attempt(script, stream=stream)
    task = asyncio.create_task(running.finish())
    await gate.reached.wait()
    assert running.chat.states == ["opened"]
    gate.open()
    await task
    assert running.chat.states == ["opened", "closed"]


@streamed_or_not
async def test_a_run_that_is_cancelled_closes_its_request(stream: bool) -> None:
    """A response may be cancelled at any time. The model must not work for nothing."""
    script = Script()
    gate = script.hold(0)
    running = attempt(script, stream=stream)
    task = asyncio.create_task(running.finish())
    await gate.reached.wait()
    task.cancel()
    await asyncio.wait([task])
    assert (script.closed, running.chat.states, running.events) == (1, ["opened", "closed"], [])


async def test_a_run_whose_reader_leaves_closes_its_request() -> None:
    """The reader may stop in the middle of the events."""
    running = attempt(Script(), stream=True)
    run = await running.begin()
    async with aclosing(run.events(stopping)) as events:
        assert (await anext(events)).data["type"] == "response.output_item.added"
    assert running.chat.states == ["opened", "closed"]


# Background work


@streamed_or_not
async def test_a_client_that_rejects_background_work_is_called_without_it(stream: bool) -> None:
    """The run notes the rejection, so that the next one need not try."""
    running = attempt(Script(refuses_background=True), stream=stream)
    done = await running.finish()
    assert (text_of(done.answer), done.chat.states) == ("All well.", ["opened", "closed"])
    script_options = [options.get("background") for options in running.chat._script.options]
    assert script_options == [True, None]
    assert running.run
    assert running.run.asks_background is False


async def test_an_agent_that_is_not_asked_for_background_work_just_runs() -> None:
    """A client that could work in the background answers at once, and nothing is saved."""
    script = Script(polls=3)
    done = await attempt(script).finish(asks_background=False)
    assert (text_of(done.answer), done.checkpoints.saved) == ("All well.", [])
    assert "background" not in script.options[0]


@pytest.mark.parametrize("error", [RuntimeError("another reason"), ValueError("temperature is not supported")])
async def test_another_exception_is_not_retried(error: Exception) -> None:
    """A second call would repeat what the first one may have done."""
    script = Script(errors=[error])
    with pytest.raises(type(error)):
        await attempt(script).finish()
    assert len(script.options) == 1


async def test_a_rejection_without_the_option_passes_through() -> None:
    """There is nothing left to leave out."""
    script = Script(errors=[ValueError("no background here")])
    with pytest.raises(ValueError, match="background"):
        await attempt(script).finish(asks_background=False)
    assert len(script.options) == 1


async def test_work_that_goes_on_elsewhere_pauses_the_run() -> None:
    """The token is saved first, with what stops the work. No process has to wait for the model."""
    pausing = attempt(Script(polls=1))
    with pytest.raises(UpstreamPaused):
        await pausing.finish()
    (saved,) = pausing.checkpoints.saved
    assert (saved["token"], pausing.checkpoints.tokens) == ({"response_id": "work_1"}, ["stops work_1"])
    assert (pausing.events, pausing.chat.states) == ([], ["opened", "closed"])


async def test_a_stream_that_ends_with_a_token_is_broken() -> None:
    """The framework does not report that its connection broke, but the work has not ended. It can be resumed."""
    breaking = Attempt(BreakingChat(Script()), MemoryCheckpoints(), stream=True)
    with pytest.raises(UpstreamBroken):
        await breaking.finish()
    assert breaking.checkpoints.tokens == ["stops work_1"]
    assert "completed" not in breaking.kinds()
