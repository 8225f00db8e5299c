"""Microsoft Agent Framework for Python. A reply with a continuation token is unfinished, which counts as its state."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient
from openai import AsyncOpenAI

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather


@asynccontextmanager
async def agent(call: Call, *tools: Callable[..., object]) -> AsyncIterator[Any]:
    """Yield an agent."""
    async with AsyncOpenAI(**call.options) as sdk:
        yield Agent(client=OpenAIChatClient(model=call.model, async_client=sdk), tools=list(tools))


def shown(reply: Any) -> Shown:
    """Return what a reply shows."""
    return Shown(reply.text, "continuation_token" if reply.continuation_token else reply.finish_reason)


async def answer(call: Call) -> Shown:
    """Ask in the foreground."""
    async with agent(call) as asked:
        return shown(await asked.run(PROMPT))


async def queued(call: Call) -> Shown:
    """Start background work."""
    async with agent(call) as asked:
        return shown(await asked.run(PROMPT, options={"background": True}))


async def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    async with agent(call) as asked:
        run = asked.run(PROMPT, stream=True)
        async for update in run:
            call.heard.append(update.text)
        return shown(await run.get_final_response())


async def tool(call: Call) -> Shown:
    """Let the agent run its tool."""
    async with agent(call, get_weather) as asked:
        return shown(await asked.run(PLACE))


if __name__ == "__main__":
    drive("agent-framework-core", answer=answer, stream=stream, tool=tool, queued=queued)
