"""Pydantic AI with its OpenAI Responses model. Its state of an answer is the reason why it finished."""

from collections.abc import Callable
from typing import Any

from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.openai import OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather


def agent(call: Call, *tools: Callable[..., object], **settings: Any) -> Any:
    """Return an agent."""
    provider = OpenAIProvider(openai_client=AsyncOpenAI(**call.options))
    return Agent(OpenAIResponsesModel(call.model, provider=provider), tools=tools, model_settings=settings or None)


async def answer(call: Call, **settings: Any) -> Shown:
    """Ask in the foreground, or as the settings say."""
    run = await agent(call, **settings).run(PROMPT)
    return Shown(run.output, run.response.finish_reason)


async def queued(call: Call) -> Shown:
    """Start background work."""
    return await answer(call, extra_body={"background": True})


async def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    async with agent(call).run_stream(PROMPT) as run:
        async for piece in run.stream_text(delta=True):
            call.heard.append(piece)
        return Shown(await run.get_output(), run.response.finish_reason)


async def tool(call: Call) -> Shown:
    """Let the agent run its tool."""
    run = await agent(call, get_weather).run(PLACE)
    return Shown(run.output, run.response.finish_reason)


if __name__ == "__main__":
    drive("pydantic-ai-slim", answer=answer, stream=stream, tool=tool, queued=queued)
