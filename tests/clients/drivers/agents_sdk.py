"""The OpenAI Agents SDK for Python.

It shows no state of a response, and it cannot poll, so the SDK below it fetches an unfinished one.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from agents import Agent, ModelSettings, OpenAIResponsesModel, Runner, function_tool, set_tracing_disabled
from openai import AsyncOpenAI
from openai.types.responses import ResponseTextDeltaEvent
from pydantic import BaseModel

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather

PAUSE_S = 0.2
BACKGROUND = ModelSettings(extra_body={"background": True})
EARLY = ModelSettings(extra_headers={"Prefer": "wait=1"})


class Headline(BaseModel):
    """A type of structured output."""

    headline: str


@asynccontextmanager
async def agent(call: Call, **fields: Any) -> AsyncIterator[Any]:
    """Yield an agent."""
    async with AsyncOpenAI(**call.options) as sdk:
        yield Agent(name="tester", model=OpenAIResponsesModel(call.model, sdk), **fields)


async def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields of the agent say."""
    async with agent(call, **fields) as asked:
        return Shown((await Runner.run(asked, PROMPT)).final_output)


async def queued(call: Call) -> Shown:
    """Start background work."""
    return await answer(call, model_settings=BACKGROUND)


async def stream(call: Call, **fields: Any) -> Shown:
    """Read a stream to its end."""
    async with agent(call, **fields) as asked:
        run = Runner.run_streamed(asked, PROMPT)
        async for event in run.stream_events():
            if event.type == "raw_response_event" and isinstance(event.data, ResponseTextDeltaEvent):
                call.heard.append(event.data.delta)
        return Shown(run.final_output)


async def streamed_early(call: Call) -> Shown:
    """Read a stream of background work to its end."""
    return await stream(call, model_settings=BACKGROUND)


async def tool(call: Call) -> Shown:
    """Let the agent run its tool. Each request is chained to the response before."""
    async with agent(call, tools=[function_tool(get_weather)]) as asked:
        return Shown((await Runner.run(asked, PLACE, auto_previous_response_id=True)).final_output)


async def structured(call: Call) -> Shown:
    """Ask for a value of a type."""
    async with agent(call, output_type=Headline) as asked:
        return Shown((await Runner.run(asked, PROMPT)).final_output.headline)


async def fetched(call: Call, settings: ModelSettings = BACKGROUND) -> Shown:
    """Start unfinished work, see that the runner shows an empty answer, and poll until the work ends."""
    async with agent(call, model_settings=settings) as asked:
        first = await Runner.run(asked, PROMPT)
        sdk = asked.model._client
        response = await sdk.responses.retrieve(first.last_response_id)
        while response.status in {"queued", "in_progress"}:
            await asyncio.sleep(PAUSE_S)
            response = await sdk.responses.retrieve(first.last_response_id)
        return Shown(response.output_text, first.final_output)


async def fetched_early(call: Call) -> Shown:
    """Ask for an early answer, and poll until the response ends."""
    return await fetched(call, EARLY)


if __name__ == "__main__":
    set_tracing_disabled(disabled=True)  # traces would be sent to OpenAI
    drive(
        "openai-agents",
        answer=answer,
        stream=stream,
        tool=tool,
        queued=queued,
        structured=structured,
        fetched=fetched,
        fetched_early=fetched_early,
        streamed_early=streamed_early,
    )
