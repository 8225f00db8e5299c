"""The running service runs agents of Agent Framework over the simulated model.

The tests use the module of docs/agents.md, and a copy of it whose tool records its calls.
"""

import asyncio
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient
from openai import AsyncOpenAI, OpenAI

from local.azurite import Azurite
from local.stack.process import ROOT
from tests.support.peer_processes import eventually
from tests.support.service_process import (
    Service,
    create,
    finished,
    followed,
    kinds,
    numbers,
    output_text,
    service,
    streaming,
    text_of,
)
from tests.support.telemetry_collectors import collector

PAGE = (ROOT / "docs" / "agents.md").read_text(encoding="utf-8")
(PAGE_MODULE,) = re.findall(r"```python\n(# agents\.py\n.*?)```", PAGE, re.DOTALL)
COUNTING = """
import os, pathlib

def weather(city: str) -> str:
    with pathlib.Path(os.environ["CALLS"]).open("a") as calls:
        calls.write(city + "\\n")
    return f"Rain in {city}."
"""
CALL_S = 30.0


def counting(module: str) -> str:
    """Return a module of agents whose tool appends each call to the file that `CALLS` names."""
    return COUNTING + re.sub(r"def weather.*?\n\n", "", module, flags=re.DOTALL)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a directory with two modules of agents: that of docs/agents.md, and the copy that records its calls."""
    found = tmp_path_factory.mktemp("agents")
    (found / "page_agents.py").write_text(PAGE_MODULE, encoding="utf-8")
    (found / "counting_agents.py").write_text(counting(PAGE_MODULE), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def over_readme(azurite: Azurite, directory: Path) -> Iterator[Service]:
    """Run a service with the agents of docs/agents.md. It must have logged nothing unexpected at the end."""
    place = str(directory)
    with service(directory, azurite.account(), AGENTS_MODULE="page_agents", PYTHONPATH=place) as running:
        yield running
        assert running.unexpected() == []


def test_the_agent_of_the_readme_answers(over_readme: Service) -> None:
    """The agent of docs/agents.md runs in the background and calls back. Its answer holds its tool's result.

    A follow-up request can continue its response.
    """
    client = over_readme.client()
    response = create(client, **over_readme.with_callback(model="agent:reporter", input="Bonn"))
    ended = finished(client, response)
    assert (ended["status"], ended["model"]) == ("completed", "agent:reporter")
    assert "the output of weather" in output_text(ended)
    assert over_readme.receiver.first(response["id"])["verified"]
    follow_up = create(client, "agent:reporter", input="And now?", previous_response_id=ended["id"])
    assert finished(client, follow_up)["status"] == "completed"


def test_a_model_without_the_agent_prefix_goes_to_the_upstream(over_readme: Service) -> None:
    """A model without the `agent:` prefix goes to the upstream. An unknown agent is a 400 that names the known ones."""
    client = over_readme.client()
    assert finished(client, create(client))["status"] == "completed"
    answer = client.post("/responses", json={"model": "agent:nobody", "input": "x"})
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (400, "model", "model_not_found")
    assert "agent:reporter" in error["message"]


def called(path: Path) -> list[str]:
    """Return the cities of the recorded tool calls."""
    return path.read_text(encoding="utf-8").split() if path.exists() else []


def test_a_killed_agent_runs_no_tool_twice(azurite: Azurite, directory: Path, tmp_path: Path) -> None:
    """The next process restarts the agent with the saved tool result and does not call the tool again.

    The host is killed with kill -9 while the model reads the tool's result.
    """
    calls, place = tmp_path / "calls", str(directory)
    with service(
        tmp_path,
        azurite.account(),
        time_factor=1,
        AGENTS_MODULE="counting_agents",
        PYTHONPATH=place,
        CALLS=str(calls),
    ) as running:
        running.model.faults(no_background=True, create_latency_s=1.5)
        client, host = running.client(), running.hosts[0]
        with streaming(client, "agent:reporter", input="Bonn") as stream:
            opening = next(stream)
            eventually(lambda: running.model.stats()["creates"] == 3 and called(calls) != [], CALL_S)
        host.kill()
        running.model.faults(create_latency_s=0)
        host.start()
        ended = finished(client, opening["response"], 60)
        assert (ended["status"], called(calls)) == ("completed", ["Bonn"])
        events = followed(client, ended["id"])
        assert text_of(events) == output_text(ended)
        assert (kinds(events).count("in_progress"), kinds(events)[-1]) == (1, "completed")
        assert numbers(events) == sorted(set(numbers(events)))
        assert running.unexpected() == []


def test_an_openai_client_reads_an_agent_as_a_model(over_readme: Service) -> None:
    """The openai SDK parses an agent's response, streamed or not, into its own item and event types."""
    key = over_readme.callers["first"].api_key
    with OpenAI(base_url=f"{over_readme.hosts[0].url}/openai/v1", api_key=key, max_retries=0) as sdk:
        response = sdk.responses.create(model="agent:reporter", input="Bonn")
        assert [item.type for item in response.output] == ["function_call", "function_call_output", "message"]
        with sdk.responses.stream(model="agent:reporter", input="Bonn") as stream:
            streamed = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
            last = stream.get_final_response()
    assert last.output_text == streamed == response.output_text
    assert last.usage
    assert last.usage.output_tokens > 0


def test_an_agent_can_use_a_served_agent_as_its_model(over_readme: Service) -> None:
    """An Agent Framework client does not execute a tool call whose result is already in the response."""

    async def asked(*, stream: bool) -> str:
        key = over_readme.callers["first"].api_key
        async with AsyncOpenAI(base_url=f"{over_readme.hosts[0].url}/openai/v1", api_key=key, max_retries=0) as sdk:
            agent = Agent(client=OpenAIChatClient(model="agent:reporter", async_client=sdk))
            if stream:
                return (await agent.run("Bonn", stream=True).get_final_response()).text
            return (await agent.run("Bonn")).text

    assert "the output of weather" in asyncio.run(asked(stream=False))
    assert "the output of weather" in asyncio.run(asked(stream=True))


def test_spans_of_an_agent_are_in_the_trace_of_its_response(
    connection_string: str, directory: Path, tmp_path: Path
) -> None:
    """Agent Framework's spans of models and tools are in the trace of the response.

    No telemetry holds the text of the input or the output.
    """
    with (
        collector() as collecting,
        service(
            tmp_path,
            connection_string,
            AGENTS_MODULE="page_agents",
            PYTHONPATH=str(directory),
            TELEMETRY="otlp",
            OTEL_EXPORTER_OTLP_ENDPOINT=collecting.url,
            OTEL_BSP_SCHEDULE_DELAY="100",
        ) as running,
    ):
        response = create(running.client(), "agent:reporter", input="Geheimstadt")
        answer = output_text(finished(running.client(), response))
        eventually(lambda: any("background_responses.id" in span.attributes for span in collecting.spans()), CALL_S)
        spans, sent = collecting.spans(), b"".join(body for _, body in collecting.posted)
    (life,) = [span for span in spans if "background_responses.id" in span.attributes]
    trace = {span.name: span for span in spans if span.trace_id == life.trace_id}
    assert (life.name, life.attributes["gen_ai.agent.name"]) == ("invoke_agent reporter", "reporter")
    assert life.attributes["gen_ai.provider.name"] == "microsoft.agent_framework"
    assert trace.keys() >= {"POST /openai/v1/responses", "execute_tool weather"}
    assert not any(text.encode() in sent for text in ("Geheimstadt", answer))
