"""Agent Framework for Python can stream from the service: over broken connections, with tools, and with failures.

The answers of this service are cut after two seconds, so a client must resume the stream of a longer response.
"""

import asyncio
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from agent_framework import AgentSession
from agent_framework.exceptions import ChatClientException
from openai import APIConnectionError
from pydantic import BaseModel

from local.azurite import Azurite
from tests.support.agent_clients import BACKGROUND, PAUSE_S, RUN_S, Reply, Update, agent, event_of, polled
from tests.support.connection_cutter import cutter
from tests.support.peer_processes import Json
from tests.support.service_process import Service, output_text, service

# The bytes of an answer after which a connection is cut. The first number is between the first delta of a text and its
# end. The second is within the answer to a tool's output.
IN_THE_TEXT = 6_000
AFTER_A_CALL = 11_500


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests here. At the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("agents"), azurite.account(), STREAM_MAX_S="2") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def cut(running: Service, request: pytest.FixtureRequest) -> Iterator[str]:
    """Yield a URL of the service whose first connection is cut after the given number of bytes."""
    with cutter(running.hosts[0].port, request.param) as (url, relay):
        yield url
        assert relay.cuts == 1


class Weather:
    """A weather tool that records the places it was called with."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def get_weather(self, place: str) -> str:
        """Return the weather of a place."""
        self.places.append(place)
        return f"It snows in {place}."


class Heard:
    """What a program keeps of a stream: the updates of each connection, the latest token and the final reply."""

    def __init__(self) -> None:
        self.connections: list[list[Update]] = []
        self.token: Json | None = None
        self.reply: Reply | None = None

    async def listen(
        self, asked: Any, *prompt: str, session: AgentSession | None = None, last: str = "", **options: Any
    ) -> None:
        """Read one connection until it ends or breaks. `last` is sent as Last-Event-ID."""
        headers = {"Last-Event-ID": last} if last else {}
        given = BACKGROUND | options | ({"continuation_token": self.token} if self.token else {})
        kwargs = {"extra_headers": headers} if headers else {}
        stream = asked.run(*prompt, stream=True, session=session, options=given, client_kwargs=kwargs)
        self.connections.append([])
        async for update in stream:
            self.connections[-1].append(update)
            self.token = update.continuation_token or self.token
        self.reply = await stream.get_final_response()
        self.token = self.reply.continuation_token

    async def listen_on(self, asked: Any, session: AgentSession | None = None, **options: Any) -> None:
        """Resume the stream until the response has ended."""
        async with asyncio.timeout(RUN_S):
            while self.token is not None:
                await asyncio.sleep(PAUSE_S)
                await self.hear(asked, session=session, **options)

    async def hear(self, asked: Any, *prompt: str, **named: Any) -> None:
        """Read one connection as `listen` does. That it breaks is no error."""
        try:
            await self.listen(asked, *prompt, **named)
        except ChatClientException as error:
            if not isinstance(error.__cause__, APIConnectionError):
                raise

    @property
    def events(self) -> list[Json]:
        """The events of all connections, in order. The update for a tool's result has no event."""
        found = [event_of(update) for updates in self.connections for update in updates]
        return [event.to_dict() for event in found if event is not None]


def deltas(events: list[Json]) -> str:
    """Return the joined text deltas of the events."""
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


async def test_an_unbroken_stream_is_complete(running: Service) -> None:
    """Every event is an update, numbered from 0 without a gap. The first updates have tokens and the end has none."""
    heard = Heard()
    async with agent(running, "sim-0.5s") as asked:
        await heard.listen(asked, "Whales sing.")
    assert heard.reply
    assert heard.token is None
    assert [event["sequence_number"] for event in heard.events] == list(range(len(heard.events)))
    assert heard.reply.text == output_text(heard.events[-1]["response"]) == deltas(heard.events)
    with_token = [event_of(update).type for update in heard.connections[0] if update.continuation_token]
    assert with_token == ["response.created", "response.in_progress"]


async def test_a_stream_that_is_cut_early_raises_and_leaves_a_token(running: Service) -> None:
    """A clean end would be taken for the whole answer. A client that resumes with the token gets all events again."""
    heard = Heard()
    async with agent(running, "sim-4s") as asked:
        with pytest.raises(ChatClientException):
            await heard.listen(asked, "Whales sing.")
        assert heard.token is not None
        await heard.listen_on(asked)
    assert heard.reply
    assert heard.reply.text.endswith("1. Whales sing.")
    assert heard.reply.text.count("This answer") == 1
    assert event_of(heard.connections[-1][0]).sequence_number == 0


@pytest.mark.parametrize("cut", [IN_THE_TEXT], indirect=True)
async def test_a_cut_connection_is_resumed_by_another_program(running: Service, cut: str) -> None:
    """The client raises an exception at the cut. With the token, a new agent object resumes the stream."""
    heard = Heard()
    async with agent(running, "sim-1s", url=cut) as asked:
        with pytest.raises(ChatClientException):
            await heard.listen(asked, "Whales sing.")
    assert deltas(heard.events)
    async with agent(running, "sim-1s", url=cut) as asked:
        await heard.listen_on(asked)
    assert heard.reply
    assert heard.reply.text.endswith("1. Whales sing.")
    assert running.model.stats()["started_twice"] == 0


@pytest.mark.parametrize("cut", [IN_THE_TEXT], indirect=True)
async def test_a_cut_connection_is_continued_after_the_last_event(running: Service, cut: str) -> None:
    """With the last number as Last-Event-ID, which the client passes on, no event is repeated and none is missing."""
    heard = Heard()
    async with agent(running, "sim-1s", url=cut) as asked:
        with pytest.raises(ChatClientException):
            await heard.listen(asked, "Whales sing.")
        while heard.token is not None:
            await heard.listen(asked, last=str(heard.events[-1]["sequence_number"]))
    assert all(heard.connections)
    assert [event["sequence_number"] for event in heard.events] == list(range(len(heard.events)))
    assert deltas(heard.events) == output_text(heard.events[-1]["response"]) != ""


@pytest.mark.parametrize("cut", [AFTER_A_CALL], indirect=True)
async def test_a_tool_loop_in_a_stream(running: Service, cut: str) -> None:
    """The call and the answer are two responses in one stream. No tool runs again when the second is resumed."""
    weather, heard = Weather(), Heard()
    async with agent(running, "sim-tool", weather.get_weather, url=cut) as asked:
        session = asked.create_session()
        with pytest.raises(ChatClientException):
            await heard.listen(asked, "Oslo", session=session)
        await heard.listen_on(asked, session)
    assert weather.places == ["Oslo"]
    assert heard.reply
    assert heard.reply.text.endswith("1. It snows in Oslo.")
    ids = list(dict.fromkeys(event["response"]["id"] for event in heard.events if "response" in event))
    last = heard.events[-1]["response"]
    assert ids == [last["previous_response_id"], last["id"]]


async def test_a_stream_that_is_cut_within_a_call_runs_no_tool(running: Service) -> None:
    """The client does not take half a call for a whole one, and the token resumes."""
    weather, heard = Weather(), Heard()
    prompt = "A town by a fjord, far in the north, where whales sing all day and all night"
    async with agent(running, "sim-tool-4s", weather.get_weather) as asked:
        session = asked.create_session()
        with pytest.raises(ChatClientException):
            await heard.listen(asked, prompt, session=session)
        assert weather.places == []
        await heard.listen_on(asked, session)
    assert weather.places == [prompt]
    assert heard.reply
    assert "the output of get_weather" in heard.reply.text


async def test_a_failure_is_raised(running: Service) -> None:
    """The client raises an exception for a failure, in a live stream and in a resumed one.

    It ignores `response.failed`, so the service sends an `error` event before it.
    """
    message = "Simulated failure, as the model sim-fail-0.5s promises."
    heard = Heard()
    async with agent(running, "sim-fail-0.5s") as asked:
        with pytest.raises(ChatClientException, match=message):
            await heard.listen(asked, "Whales sing.")
        assert heard.token is not None
        with pytest.raises(ChatClientException, match=message):
            await heard.listen(asked)
    assert heard.reply is None


async def test_leaving_a_stream_does_not_stop_the_response(running: Service) -> None:
    """The client sends nothing when a program leaves a stream. The response runs to its end."""
    async with agent(running, "sim-1s") as asked:
        stream = asked.run("Whales sing.", stream=True, options=BACKGROUND)
        first = await anext(aiter(stream))
        await stream.close()
        begun = await asked.run(options={**BACKGROUND, "continuation_token": first.continuation_token})
        ended = (await polled(asked, begun, **BACKGROUND))[-1]
    assert ended.text.endswith("1. Whales sing.")


async def test_reasoning_in_a_stream(running: Service) -> None:
    """The reasoning summary comes before the text, as content of the kind `text_reasoning`."""
    heard = Heard()
    async with agent(running, "sim-reason-0.5s") as asked:
        await heard.listen(asked, "Whales sing.")
    assert heard.reply
    kinds = [content.type for message in heard.reply.messages for content in message.contents]
    assert kinds[:2] == ["text_reasoning", "text"]


class Report(BaseModel):
    """A type of structured output."""

    headline: str
    sky: Literal["clear", "grey"]


async def test_structured_output_in_a_stream(running: Service) -> None:
    """The client parses the value from the complete text, also if the stream was resumed."""
    for model in ("sim-0.5s", "sim-4s"):
        heard = Heard()
        async with agent(running, model) as asked:
            await heard.hear(asked, "Whales sing.", response_format=Report)
            await heard.listen_on(asked, response_format=Report)
        assert heard.reply
        assert isinstance(heard.reply.value, Report)
        assert heard.reply.value.headline.startswith(f"This answer is simulated by {model}")
