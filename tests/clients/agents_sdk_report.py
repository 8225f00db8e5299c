"""Reports what the OpenAI Agents SDK makes of our answers, as one JSON object on standard output.

    python agents_sdk_report.py BASE_URL KEY [impatient]

With `impatient`, it makes one call that takes longer than the client's time-out between two reads. It runs in a
separate environment. test_frameworks.py checks the report.
"""

import asyncio
import json
import sys
from collections.abc import Awaitable
from importlib.metadata import version
from typing import Any, TypeAlias

from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from pydantic import BaseModel

Json: TypeAlias = dict[str, Any]

PROMPT = "Whales sing."
PAUSE_S = 0.2


class Headline(BaseModel):
    """A type of structured output."""

    headline: str


def get_weather(place: str) -> str:
    """Return the weather of a place."""
    return f"It snows in {place}."


async def main(base_url: str, key: str, only: str = "") -> None:
    """Print the report."""
    set_tracing_disabled(disabled=True)  # traces would be sent to OpenAI
    patience: dict[str, Any] = {"max_retries": 3, "timeout": 2} if only else {"max_retries": 0, "timeout": 60}
    async with AsyncOpenAI(base_url=base_url, api_key=key, **patience) as sdk:
        found = {only: await impatient(sdk)} if only else await report(sdk)
        json.dump({"version": version("openai-agents"), **found}, sys.stdout)


async def impatient(sdk: AsyncOpenAI) -> str:
    """Return the answer to one call."""
    agent = Agent(name="tester", model=OpenAIResponsesModel("sim-8s", sdk))
    text: str = (await Runner.run(agent, PROMPT)).final_output
    return text


async def report(sdk: AsyncOpenAI) -> Json:
    """Ask in every way and return the answers, by name."""

    def agent(model: str, **fields: Any) -> Any:
        return Agent(name="tester", model=OpenAIResponsesModel(model, sdk), **fields)

    background = ModelSettings(extra_body={"background": True})
    impatient = ModelSettings(extra_headers={"Prefer": "wait=1"})
    tool = agent("sim-tool", tools=[function_tool(get_weather)])
    return {
        "foreground": (await Runner.run(agent("sim-1s"), PROMPT)).final_output,
        "streamed": await streamed(agent("sim-2s")),
        "background": await fetched(sdk, agent("sim-1s", model_settings=background)),
        "unfinished": await fetched(sdk, agent("sim-2s", model_settings=impatient)),
        "long": await streamed(agent("sim-2s", model_settings=background)),
        "tool": (await Runner.run(tool, "Oslo", auto_previous_response_id=True)).final_output,
        "structured": (await Runner.run(agent("sim-0.5s", output_type=Headline), PROMPT)).final_output.headline,
        "failed": await raised(Runner.run(agent("sim-fail-0.5s"), PROMPT)),
        "failed_stream": await raised(streamed(agent("sim-fail-0.5s"))),
    }


async def streamed(agent: Any) -> str:
    """Run an agent, read all its events and return the answer."""
    run = Runner.run_streamed(agent, PROMPT)
    async for _ in run.stream_events():
        pass
    text: str = run.final_output
    return text


async def fetched(sdk: AsyncOpenAI, agent: Any) -> Json:
    """Ask, then poll with the SDK below until the response ends. The runner returns an empty answer in between."""
    asked = await Runner.run(agent, PROMPT)
    response = first = await sdk.responses.retrieve(asked.last_response_id)
    while response.status in {"queued", "in_progress"}:
        await asyncio.sleep(PAUSE_S)
        response = await sdk.responses.retrieve(first.id)
    return {"first": asked.final_output, "text": response.output_text}


async def raised(asking: Awaitable[object]) -> str:
    """Return the exception that the SDK raises, as text."""
    try:
        return f"nothing: {await asking}"
    except Exception as error:  # noqa: BLE001 - this program reports any exception
        return repr(error)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
