"""The openai SDK for Python, major versions 2 and 3."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
from openai.resources.responses import Responses

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather

TOOL: Any = {
    "type": "function",
    "name": "get_weather",
    "description": "Return the weather of a place.",
    "parameters": {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]},
}


@contextmanager
def responses(call: Call) -> Iterator[Responses]:
    """Yield the calls of an SDK client."""
    with openai.OpenAI(**call.options) as sdk:
        yield sdk.responses


def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields say."""
    with responses(call) as calls:
        response = calls.create(model=call.model, input=PROMPT, **fields)
    return Shown(response.output_text, response.status)


def queued(call: Call) -> Shown:
    """Start background work."""
    return answer(call, background=True)


def stream(call: Call) -> Shown:
    """Read a stream to its end. The state is that of the last event's response."""
    status = None
    with responses(call) as calls:
        for event in calls.create(model=call.model, input=PROMPT, stream=True):
            if event.type == "response.output_text.delta":
                call.heard.append(event.delta)
            status = event.response.status if hasattr(event, "response") else status
    return Shown("".join(call.heard), status)


def tool(call: Call) -> Shown:
    """Run the requested tool, and ask again with its output."""
    with responses(call) as calls:
        asking = calls.create(model=call.model, input=PLACE, tools=[TOOL])
        [asked] = [item for item in asking.output if item.type == "function_call"]
        output: Any = {
            "type": "function_call_output",
            "call_id": asked.call_id,
            "output": get_weather(**json.loads(asked.arguments)),
        }
        response = calls.create(model=call.model, input=[output], tools=[TOOL], previous_response_id=asking.id)
    return Shown(response.output_text, response.status)


if __name__ == "__main__":
    drive("openai", answer=answer, stream=stream, tool=tool, queued=queued)
