"""LiteLLM's calls of the Responses API. It repeats only if it is asked to."""

import json
from typing import Any

import litellm

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather
from tests.clients.drivers.openai_sdk import TOOL

REPEATS = 2
ENDS = {"response.completed", "response.failed", "response.incomplete"}


def responses(call: Call, **fields: Any) -> Any:
    """Make a call. LiteLLM makes a stream from a whole answer for a model that it does not know, so it is told."""
    known = {"litellm_provider": "openai", "mode": "responses", "supports_native_streaming": True}
    litellm.register_model({f"openai/{call.model}": known})
    given = {"api_base": call.url, "api_key": call.key, "timeout": call.timeout_s, "num_retries": REPEATS}
    return litellm.responses(**{"model": f"openai/{call.model}", "input": PROMPT, **given, **fields})


def shown(response: Any) -> Shown:
    """Return what a response shows."""
    return Shown(response.output_text, response.status)


def answer(call: Call) -> Shown:
    """Ask in the foreground."""
    return shown(responses(call))


def queued(call: Call) -> Shown:
    """Start background work."""
    return shown(responses(call, background=True))


def stream(call: Call) -> Shown:
    """Read a stream to its end. The state is that of the last event."""
    status = None
    for event in responses(call, stream=True):
        if event.type == "response.output_text.delta":
            call.heard.append(event.delta)
        if event.type in ENDS:
            status = event.response.status
    return Shown("".join(call.heard), status)


def tool(call: Call) -> Shown:
    """Run the requested tool, and ask again with its output."""
    asking = responses(call, input=PLACE, tools=[TOOL])
    [asked] = [item for item in asking.output if item.type == "function_call"]
    output = get_weather(**json.loads(asked.arguments))
    item = {"type": "function_call_output", "call_id": asked.call_id, "output": output}
    return shown(responses(call, input=[item], tools=[TOOL], previous_response_id=asking.id))


if __name__ == "__main__":
    drive("litellm", answer=answer, stream=stream, tool=tool, queued=queued)
