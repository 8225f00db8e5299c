"""Agents of the real Agent Framework whose chat client follows a script instead of calling a model."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from agent_framework import (
    Agent,
    BaseChatClient,
    ChatMiddlewareLayer,
    ChatResponse,
    ChatResponseUpdate,
    Content,
    FunctionInvocationLayer,
    Message,
)

from shared.storage.messages import RunOffer
from shared.upstreams.agents.registry import Agents
from shared.upstreams.agents.upstream import PREFIX, AgentUpstream
from tests.support.fakes.streams import Gate
from tests.support.stage import Stage
from tests.support.stream_clients import Reader, streamed

AGENT = "agent:clerk"
USAGE: Any = {"input_token_count": 5, "output_token_count": 2, "total_token_count": 7}


def says(*words: str) -> list[Content]:
    """Return the contents of a turn in which the model says these words, one content each, and reports its usage."""
    return [*(Content.from_text(word) for word in words), Content.from_usage(USAGE)]


def calls(tool: str, **arguments: Any) -> Content:
    """Return the content with which the model calls a tool."""
    return Content.from_function_call(f"call_{tool}_{len(arguments)}", tool, arguments=arguments)


@dataclass
class Script:
    """What the model of an agent does, and a record of its requests.

    The number of tool results since the last user message selects the turn. The last turn is repeated. A gate holds the
    model before its turn. `polls` is how often background work is reported as unfinished.
    """

    turns: list[list[Content]] = field(default_factory=lambda: [says("All ", "well.")])
    gates: dict[int, Gate] = field(default_factory=dict)
    errors: list[Exception] = field(default_factory=list)
    polls: int | None = None  # None if the client has no background mode
    refuses_background: bool = False
    finish_reason: Any = None
    asked: list[list[str]] = field(default_factory=list)  # the texts of each request
    options: list[dict[str, Any]] = field(default_factory=list)
    closed: int = 0  # requests that were cancelled
    begun: int = 0  # pieces of background work that were started

    def hold(self, turn: int) -> Gate:
        """Hold the model before this turn."""
        self.gates[turn] = Gate()
        return self.gates[turn]


class ScriptedChat(FunctionInvocationLayer[Any], ChatMiddlewareLayer[Any], BaseChatClient[Any]):
    """A chat client with the layers of Agent Framework's own clients, which asks a script instead of a model."""

    def __init__(self, script: Script) -> None:
        super().__init__()
        self._script = script

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **_: Any
    ) -> Any:
        self._script.options.append(dict(options))
        if stream:
            return self._build_response_stream(self._updates(messages, options))
        return self._response(messages, options)

    async def _response(self, messages: Sequence[Message], options: Mapping[str, Any]) -> ChatResponse[Any]:
        if (token := self._awaited(options)) is not None:
            return ChatResponse(messages=[], continuation_token=token)
        contents = await self._turn(messages)
        used: Any = {}
        for content in contents:
            used |= content.usage_details or {}
        received = [content for content in contents if content.type != "usage"]
        message = Message("assistant", received)
        return ChatResponse(messages=[message], usage_details=used or None, finish_reason=self._script.finish_reason)

    async def _updates(
        self, messages: Sequence[Message], options: Mapping[str, Any]
    ) -> AsyncIterator[ChatResponseUpdate]:
        token: Any = None
        if self._script.polls is not None and options.get("background"):
            token = self._token(options)
            yield ChatResponseUpdate(role="assistant", continuation_token=token)
        for content in await self._turn(messages):
            yield ChatResponseUpdate(role="assistant", contents=[content])

    async def _turn(self, messages: Sequence[Message]) -> list[Content]:
        script = self._script
        if script.refuses_background and script.options[-1].get("background"):
            raise TypeError("create() got an unexpected keyword argument 'background'")
        script.asked.append([message.text for message in messages])
        done = _results_since_the_question(messages)
        try:
            if gate := script.gates.get(done):
                await gate.wait()
        except asyncio.CancelledError:
            script.closed += 1
            raise
        if script.errors:
            raise script.errors.pop(0)
        return script.turns[min(done, len(script.turns) - 1)]

    def _awaited(self, options: Mapping[str, Any]) -> Any:
        """Return the token of background work that is still unfinished, or None."""
        script = self._script
        if script.polls is None or not options.get("background"):
            return None
        if script.polls == 0:
            return None
        script.polls -= 1
        return self._token(options)

    def _token(self, options: Mapping[str, Any]) -> Any:
        if token := options.get("continuation_token"):
            return token
        self._script.begun += 1
        return {"response_id": f"work_{self._script.begun}"}


def _results_since_the_question(messages: Sequence[Message]) -> int:
    count = 0
    for message in messages:
        count = 0 if message.role == "user" else count
        count += sum(content.type == "function_result" for content in message.contents)
    return count


class RegisteredAgents(Protocol):
    """Agents that can be made by name."""

    scripts: Mapping[str, Script | None]

    def made(self, name: str) -> Agent[Any]:
        """Return a new agent."""


@dataclass
class Staff:
    """The agents of a deployment. Each follows its script and has the tools that it is given."""

    scripts: Mapping[str, Script | None] = field(default_factory=dict)
    tools: dict[str, list[Callable[..., Any]]] = field(default_factory=dict)

    def made(self, name: str) -> Agent[Any]:
        """Return a new agent."""
        client = ScriptedChat(self.scripts[name] or Script())
        return Agent(client=client, name=name, instructions="Be brief.", tools=self.tools.get(name))


class StaffOf(Agents):
    """A registry with the agents of a staff in place of those of a module."""

    def __init__(self, staff: RegisteredAgents) -> None:
        super().__init__(__name__)
        self._staff = staff

    def _known(self) -> Mapping[str, Callable[[], Agent[Any]]]:
        return {name: partial(self._staff.made, name) for name in self._staff.scripts}


def register_agent(
    stage: Stage, script: Script | None = None, *tools: Callable[..., Any], name: str = "clerk"
) -> Script:
    """Give the stage one agent that follows a script and has these tools, and return the script.

    By default its model is `agent:clerk`.
    """
    script = script or Script()
    staff = Staff({name: script}, {name: list(tools)})
    stage.register_agent(PREFIX, AgentUpstream(StaffOf(staff)))
    return script


class Weather:
    """A tool that records its calls."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def weather(self, city: str) -> str:
        """Tell the weather of a city."""
        self.asked.append(city)
        return f"rain in {city}"


def rainy(stage: Stage, tool: Weather) -> Script:
    """Employ an agent that calls the weather tool for one city and then answers. Return its script."""
    return register_agent(stage, Script([[calls("weather", city="Bonn")], says("It ", "rains.")]), tool.weather)


async def ran(stage: Stage, **fields: Any) -> dict[str, Any]:
    """Run an agent to its end and return its response."""
    made = await stage.create(model=AGENT, **fields)
    await stage.engine.drive(RunOffer(made.id, 1))
    return await stage.shown(made.id)


async def received(stage: Stage, **fields: Any) -> Reader:
    """Run a streamed agent to its end and return the reader, which has read the whole stream."""
    reader = await streamed(stage, model=AGENT, **fields)
    await stage.engine.drive(RunOffer(reader.id, 1))
    await reader.rest()
    return reader


def spoken(response: dict[str, Any]) -> str:
    """Return the text of a response's messages."""
    messages = [item for item in response["output"] if item["type"] == "message"]
    return "".join(part["text"] for item in messages for part in item["content"])
