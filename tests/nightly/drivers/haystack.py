"""Haystack's chat generator for the Responses API."""

from typing import Any

from haystack.components.agents import Agent
from haystack.components.generators.chat import OpenAIResponsesChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import create_tool_from_function
from haystack.utils import Secret

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather


def generator(call: Call, **fields: Any) -> OpenAIResponsesChatGenerator:
    """Return a generator."""
    key = Secret.from_token(call.key)
    return OpenAIResponsesChatGenerator(
        api_key=key, api_base_url=call.url, model=call.model, timeout=call.timeout_s, **fields
    )


def shown(message: Any) -> Shown:
    """Return what a reply shows."""
    return Shown(message.text or "", message.meta.get("status"))


def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields say."""
    [reply] = generator(call, **fields).run([ChatMessage.from_user(PROMPT)])["replies"]
    return shown(reply)


def queued(call: Call) -> Shown:
    """Start background work."""
    return answer(call, generation_kwargs={"background": True})


def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    return answer(call, streaming_callback=lambda chunk: call.heard.append(chunk.content))


def tool(call: Call) -> Shown:
    """Let an agent run its tool."""
    agent = Agent(chat_generator=generator(call), tools=[create_tool_from_function(get_weather)])
    return shown(agent.run(messages=[ChatMessage.from_user(PLACE)])["last_message"])


if __name__ == "__main__":
    drive("haystack-ai", answer=answer, stream=stream, tool=tool, queued=queued)
