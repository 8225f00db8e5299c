"""Semantic Kernel's OpenAIResponsesAgent. It polls background work by itself, and shows no state."""

from typing import Any

from openai import AsyncOpenAI
from semantic_kernel.agents import OpenAIResponsesAgent
from semantic_kernel.functions import kernel_function

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather


class Weather:
    """A plugin with the tool."""

    @kernel_function(name="get_weather", description="Return the weather of a place.")
    def get_weather(self, place: str) -> str:
        """Return the weather of a place."""
        return get_weather(place)


def agent(call: Call, *plugins: object) -> Any:
    """Return an agent."""
    client = AsyncOpenAI(**call.options)
    return OpenAIResponsesAgent(ai_model_id=call.model, client=client, name="tester", plugins=list(plugins))


async def answer(call: Call) -> Shown:
    """Ask in the foreground."""
    return Shown(str((await agent(call).get_response(PROMPT)).content))


async def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    async for piece in agent(call).invoke_stream(PROMPT):
        call.heard.append(str(piece.content))
    return Shown("".join(call.heard))


async def tool(call: Call) -> Shown:
    """Let the agent run its tool."""
    return Shown(str((await agent(call, Weather()).get_response(PLACE)).content))


if __name__ == "__main__":
    drive("semantic-kernel", answer=answer, stream=stream, tool=tool)
