"""Strands Agents with its OpenAI Responses model. Its state of an answer is the reason why it stopped."""

from collections.abc import Callable
from typing import Any

from strands import Agent
from strands import tool as strands_tool
from strands.models.openai_responses import OpenAIResponsesModel

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather


def agent(call: Call, *tools: Callable[..., object], **params: Any) -> Any:
    """Return an agent that prints nothing."""
    model = OpenAIResponsesModel(client_args=call.options, model_id=call.model, params=params)
    return Agent(model=model, tools=list(tools), callback_handler=None)


def shown(result: Any) -> Shown:
    """Return what the result of a run shows."""
    text = "".join(block.get("text", "") for block in result.message["content"])
    return Shown(text, result.stop_reason)


async def answer(call: Call, **params: Any) -> Shown:
    """Ask in the foreground, or as the parameters say."""
    return shown(await agent(call, **params).invoke_async(PROMPT))


async def queued(call: Call) -> Shown:
    """Start background work."""
    return await answer(call, background=True)


async def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    result = None
    async for event in agent(call).stream_async(PROMPT):
        call.heard.append(event.get("data", ""))
        result = event.get("result", result)
    return shown(result)


async def tool(call: Call) -> Shown:
    """Let the agent run its tool."""
    return shown(await agent(call, strands_tool(get_weather)).invoke_async(PLACE))


if __name__ == "__main__":
    drive("strands-agents", answer=answer, stream=stream, tool=tool, queued=queued)
