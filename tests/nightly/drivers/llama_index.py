"""LlamaIndex's OpenAIResponses. It shows no state of a response, except in the raw one."""

from typing import Any

from llama_index.core.agent.workflow import FunctionAgent
from llama_index.core.llms import ChatMessage
from llama_index.llms.openai import OpenAIResponses

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather


def model(call: Call, **fields: Any) -> OpenAIResponses:
    """Return a model. Its context window must be given, because the name of the model is not OpenAI's."""
    patience = {} if call.timeout_s is None else {"timeout": call.timeout_s}
    return OpenAIResponses(
        model=call.model, api_key=call.key, api_base=call.url, context_window=100_000, **patience, **fields
    )


def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields say."""
    reply = model(call, **fields).chat([ChatMessage(PROMPT)])
    return Shown(reply.message.content or "")


def queued(call: Call) -> Shown:
    """Start background work."""
    return answer(call, additional_kwargs={"background": True})


def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    for piece in model(call).stream_chat([ChatMessage(PROMPT)]):
        call.heard.append(piece.delta or "")
    return Shown("".join(call.heard))


async def tool(call: Call) -> Shown:
    """Let an agent run its tool."""
    reply = await FunctionAgent(tools=[get_weather], llm=model(call)).run(PLACE)
    return Shown(str(reply))


if __name__ == "__main__":
    drive("llama-index-llms-openai", answer=answer, stream=stream, tool=tool, queued=queued)
