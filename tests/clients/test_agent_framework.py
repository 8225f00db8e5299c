"""Microsoft Agent Framework for Python works as a client: its agents run in the background and are polled."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import pytest
from agent_framework import AgentSession
from agent_framework.exceptions import ChatClientException
from agent_framework.openai import OpenAIChatClient
from pydantic import BaseModel

from local.azurite import Azurite
from tests.support.agent_clients import BACKGROUND, agent, polled, ran, received
from tests.support.service_process import Service, service


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests here. At the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("agents"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


class Weather:
    """A weather tool that records the places it was called with."""

    def __init__(self) -> None:
        self.places: list[str] = []

    def get_weather(self, place: str) -> str:
        """Return the weather of a place."""
        self.places.append(place)
        return f"It snows in {place}."


class Report(BaseModel):
    """A type of structured output."""

    headline: str
    degrees: int
    sky: Literal["clear", "grey"]


async def test_a_run_is_polled_until_its_token_is_null(running: Service) -> None:
    """Every answer but the last has a token and no text. The last has the text. All of them have `background` true."""
    async with agent(running, "sim-1s", instructions="Be brief.") as asked:
        answers = await polled(asked, await asked.run("Whales sing.", options=BACKGROUND), **BACKGROUND)
    *waiting, ended = answers
    assert waiting
    assert {answer.text for answer in waiting} == {""}
    assert {answer.continuation_token["response_id"] for answer in waiting} == {ended.response_id}
    assert ended.text.startswith("This answer is simulated by sim-1s")
    assert ended.text.endswith("Instructions: Be brief.\n1. Whales sing.")
    assert [received(answer)["background"] for answer in answers] == [True] * len(answers)
    assert received(ended)["status"] == "completed"


async def test_a_token_outlives_the_program_that_got_it(running: Service) -> None:
    """With the token and the session as JSON, another agent object gets the answer and continues the session."""
    async with agent(running, "sim-1s") as asked:
        session = asked.create_session()
        begun = await asked.run("Whales sing.", session=session, options=BACKGROUND)
    token, state = json.loads(json.dumps([begun.continuation_token, session.to_dict()]))
    async with agent(running, "sim-1s") as asked:
        session = AgentSession.from_dict(state)
        resumed = await asked.run(session=session, options={**BACKGROUND, "continuation_token": token})
        ended = (await polled(asked, resumed, session, **BACKGROUND))[-1]
        following = await ran(asked, "Bees dance.", session)
    assert ended.text.endswith("1. Whales sing.")
    assert following.text.endswith("1. Whales sing.\n2. Bees dance.")


async def test_a_run_that_ends_at_once_has_no_token(running: Service) -> None:
    """If a response ends at once, the first answer has the text and no token. The same is true of a foreground run."""
    async with agent(running, "sim-instant") as asked:
        at_once = await asked.run("Whales sing.", options=BACKGROUND)
    async with agent(running, "sim-1s") as asked:
        foreground = await asked.run("Whales sing.")
    for answer in (at_once, foreground):
        assert answer.continuation_token is None
        assert answer.text.endswith("1. Whales sing.")


async def test_the_client_works_in_its_azure_form(running: Service) -> None:
    """With `azure_endpoint` the client uses another path and header, and an `api-version`."""
    url, key = running.hosts[0].url, running.callers["first"].api_key
    client: Any = OpenAIChatClient(model="sim-1s", azure_endpoint=url, api_key=key)
    async with client.client:
        assert (await ran(client.as_agent(), "Whales sing.")).text.endswith("1. Whales sing.")


async def test_tools_run_in_the_program_that_polls(running: Service) -> None:
    """Each tool runs once. Its output goes into a second background response, chained to the first."""
    weather = Weather()
    async with agent(running, "sim-tool", weather.get_weather) as asked:
        session = asked.create_session()
        begun = await asked.run("Oslo", session=session, options=BACKGROUND)
        ended = (await polled(asked, begun, session, **BACKGROUND))[-1]
        following = await ran(asked, "Thanks.", session)
    assert weather.places == ["Oslo", "Thanks."]
    assert "the output of get_weather" in ended.text
    assert ended.text.endswith("1. It snows in Oslo.")
    assert received(ended)["previous_response_id"] == begun.response_id != ended.response_id
    assert received(ended)["background"] is True
    assert following.text.endswith("1. It snows in Thanks..")


async def test_a_foreground_call_of_the_tool_loop_that_comes_back_unfinished_is_polled(running: Service) -> None:
    """A client that polls without `background` posts the tool's output in the foreground.

    If that call comes back unfinished, because `Prefer: wait` asked for that, it has a token, and the client polls it.
    """
    weather = Weather()
    async with agent(running, "sim-tool-1.5s", weather.get_weather) as asked:
        begun = await asked.run("Oslo", options=BACKGROUND)
        answers = await polled(asked, begun, headers={"Prefer": "wait=1"})
    assert weather.places == ["Oslo"]
    unfinished = [answer for answer in answers if answer.response_id == answers[-1].response_id][:-1]
    assert unfinished
    assert all(received(answer)["background"] is False for answer in unfinished)
    assert all(answer.continuation_token for answer in unfinished)
    assert answers[-1].text.endswith("1. It snows in Oslo.")


async def test_one_idempotency_key_serves_a_whole_tool_loop(running: Service) -> None:
    """The client sends the key with each request of the loop. The bodies differ, and none is refused or mixed up."""
    weather = Weather()
    kwargs = {"extra_headers": {"Idempotency-Key": "one-for-all"}}
    async with agent(running, "sim-tool", weather.get_weather) as asked:
        first = await asked.run("Oslo", client_kwargs=kwargs)
        again = await asked.run("Oslo", client_kwargs=kwargs)
    assert first.text.endswith("1. It snows in Oslo.")
    assert again.response_id == first.response_id


async def test_a_session_of_several_turns(running: Service) -> None:
    """Each turn is chained to the one before, in the background and in the foreground."""
    async with agent(running, "sim-0.5s") as asked:
        session = asked.create_session()
        await ran(asked, "Whales sing.", session)
        await asked.run("Bees dance.", session=session)
        third = await ran(asked, "Crows count.", session)
    assert third.text.endswith("1. Whales sing.\n2. Bees dance.\n3. Crows count.")


async def test_a_turn_after_one_that_is_still_running_is_refused(running: Service) -> None:
    """The service refuses a turn that the client chains to one that is still running, and gives the reason.

    The running turn continues.
    """
    async with agent(running, "sim-1s") as asked:
        session = asked.create_session()
        begun = await asked.run("Whales sing.", session=session, options=BACKGROUND)
        with pytest.raises(ChatClientException, match="wait for its end"):
            await asked.run("Bees dance.", session=session, options=BACKGROUND)
        assert (await polled(asked, begun, session, **BACKGROUND))[-1].text.endswith("1. Whales sing.")


async def test_structured_output(running: Service) -> None:
    """The client parses the value from the polled answer if the format is also given with each poll."""
    async with agent(running, "sim-0.5s") as asked:
        value = (await ran(asked, "Whales sing.", response_format=Report)).value
    assert isinstance(value, Report)
    assert value.headline.startswith("This answer is simulated by sim-0.5s")
    assert (value.degrees, value.sky) == (1, "clear")


async def test_reasoning(running: Service) -> None:
    """The reasoning item comes before the text."""
    async with agent(running, "sim-reason-0.5s") as asked:
        ended = await ran(asked, "Whales sing.")
    kinds = [content.type for message in ended.messages for content in message.contents]
    assert kinds == ["text_reasoning", "text"]


async def test_a_failure_shows_in_the_response(running: Service) -> None:
    """This client raises nothing for a polled failure. The `status` and `error` of the response show it."""
    async with agent(running, "sim-fail-0.5s") as asked:
        failed = await ran(asked, "Whales sing.")
    assert (failed.text, failed.continuation_token) == ("", None)
    assert received(failed)["status"] == "failed"
    assert received(failed)["error"]["message"] == "Simulated failure, as the model sim-fail-0.5s promises."


async def test_an_incomplete_answer_says_why(running: Service) -> None:
    """An incomplete response has its text so far and the reason why it stopped."""
    async with agent(running, "sim-incomplete-0.5s") as asked:
        half = await ran(asked, "Whales sing.")
    assert half.text.startswith("This answer")
    assert half.finish_reason == "length"


async def test_cancel_and_delete_work_through_the_wrapped_sdk(running: Service) -> None:
    """The agent cannot cancel or delete, but the SDK that it wraps can.

    A cancelled response has no token, and a deleted response is answered with 404.
    """
    async with agent(running, "sim-60s") as asked:
        begun = await asked.run("Whales sing.", options=BACKGROUND)
        token, sdk = begun.continuation_token, asked.client.client
        await sdk.responses.cancel(token["response_id"])
        cancelled = await asked.run(options={"continuation_token": token})
        assert (received(cancelled)["status"], cancelled.continuation_token) == ("cancelled", None)
        await sdk.responses.delete(token["response_id"])
        with pytest.raises(ChatClientException, match="404"):
            await asked.run(options={"continuation_token": token})


async def test_a_callback_can_be_requested_in_the_metadata(running: Service) -> None:
    """The client refuses unknown options, so the callback URL is sent in the metadata."""
    metadata = {"callback_url": f"{running.receiver.url}/callback"}
    async with agent(running, "sim-0.5s") as asked:
        begun = await asked.run("Whales sing.", options={**BACKGROUND, "metadata": metadata})
    callback = running.receiver.first(begun.continuation_token["response_id"])
    assert (callback["verified"], callback["type"]) == (True, "response.completed")


async def test_a_wrong_key_is_an_exception(running: Service) -> None:
    """The client raises an exception that contains the status 401."""
    client: Any = OpenAIChatClient(model="sim-1s", api_key="wrong", base_url=f"{running.hosts[0].url}/openai/v1")
    async with client.client:
        with pytest.raises(ChatClientException, match="401"):
            await client.as_agent().run("Whales sing.", options=BACKGROUND)
