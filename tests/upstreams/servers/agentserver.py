"""A server of `azure-ai-agentserver-responses` whose handler does what the model's name says.

    PORT=8088 AGENTSERVER_STATE_ROOT=DIRECTORY python agentserver.py [--resilient]

The Python must have the packages of tests/clients/agentserver.txt. The handler says how many items of history it has,
and then WORDS, one every 40 ms:

* `words` to its end, and `slow` with a pause of 60 s in the middle
* `raises` and `stops` until the middle: then the handler raises, or ends without a terminal event
* `raises-at-once` raises before the first event
* `dies-once` until the middle, then the process ends with exit code 70. It does that once for each input

Every other model is unknown, and the handler ends its response as failed. GET `/asked` shows each request by its input,
and GET `/stopped` names the inputs whose work was cancelled.
"""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from azure.ai.agentserver.responses import ResponseEventStream, ResponsesAgentServerHost, ResponsesServerOptions
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

WORDS = ["Whales ", "sing ", "in ", "the ", "ocean, ", "and ", "bees ", "dance."]
MIDDLE = 4
WORD_S = 0.04
SLOW_S = 60.0
MODELS = {"words", "slow", "raises", "stops", "dies-once"}
GAVE_UP = 70
SHOWN = ("background", "stream", "store", "include")

asked: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)
stopped: list[str] = []


async def requests(_: Request) -> JSONResponse:
    """Return what was asked for, by input."""
    return JSONResponse(asked)


async def cancelled(_: Request) -> JSONResponse:
    """Return the inputs whose work was cancelled."""
    return JSONResponse(stopped)


async def handler(request: Any, context: Any, cancellation_signal: asyncio.Event) -> AsyncIterator[Any]:
    """Yield the events of one response."""
    text, model = await context.get_input_text(), request["model"]
    asked[text].append({name: request.get(name) for name in SHOWN})
    if model == "raises-at-once":
        raise RuntimeError("the handler has no model")
    stream = ResponseEventStream(response_id=context.response_id, request=request)
    yield stream.emit_created()
    if model not in MODELS:
        yield stream.emit_failed(code="model_not_found", message=f"There is no model {model!r} here.")
        return
    yield stream.emit_in_progress()
    message = stream.add_output_item_message()
    yield message.emit_added()
    part = message.add_text_content()
    yield part.emit_added()
    for number, word in enumerate([f"{len(await context.get_history())}: ", *WORDS]):
        if number == MIDDLE and model == "raises":
            raise RuntimeError("the handler broke")
        if number == MIDDLE and model == "stops":
            return
        if number == MIDDLE and model == "dies-once":
            die_once(text)
        if await is_set_within(cancellation_signal, SLOW_S if number == MIDDLE and model == "slow" else WORD_S):
            stopped.append(text)
            return
        yield part.emit_delta(word)
    yield part.emit_text_done()
    yield part.emit_done()
    yield message.emit_done()
    yield stream.emit_completed()


def die_once(text: str) -> None:
    """End the process, the first time for this input."""
    died = Path(os.environ["AGENTSERVER_STATE_ROOT"], f"died {text}")
    if not died.exists():
        died.touch()
        os._exit(GAVE_UP)


async def is_set_within(signal: asyncio.Event, seconds: float) -> bool:
    """Return whether the signal is set within that time."""
    try:
        await asyncio.wait_for(signal.wait(), seconds)
    except TimeoutError:
        return False
    return True


if __name__ == "__main__":
    app = ResponsesAgentServerHost(
        options=ResponsesServerOptions(resilient_background="--resilient" in sys.argv),
        configure_observability=None,  # it would send its own telemetry to the internet
        routes=[Route("/asked", requests), Route("/stopped", cancelled)],
    )
    app.response_handler(handler)
    app.run(host="127.0.0.1")
