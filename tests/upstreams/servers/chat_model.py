"""A chat model of OpenAI's Chat Completions API, whose name says what it does. Servers of the Responses API call it.

Run it with `python -m tests.upstreams.servers.chat_model`. The names of its models:

    tale            twenty words, 30 ms apart
    long-tale       three hundred words, 30 ms apart
    breaks          twenty words of which five are sent, then the connection is cut
    breaks-once     breaks the first time, and is a tale from then on
    fails           five words, then an error in the stream
    refuses         a 400 with a reason
"""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from local.stack.loopback import serve

BANNER = "chat model listening on http://127.0.0.1:{port}/v1"
MODELS = ("tale", "long-tale", "breaks", "breaks-once", "fails", "refuses")
WORDS = tuple(f"word{number} " for number in range(20))
LONG = tuple(f"word{number} " for number in range(300))
PAUSE_S = 0.03
SENT = 5  # words before a fault
REASON = "The chat model refuses this request."
FAULT = "The chat model ran out of memory."


class CutError(Exception):
    """The connection is cut here."""


class ChatModel:
    """The handlers, and how often each model was called."""

    def __init__(self) -> None:
        self._calls: Counter[str] = Counter()
        self._open = 0

    def routes(self) -> list[Route]:
        """Return the routes of the API, and `/counts`, which is no part of it."""
        return [
            Route("/v1/models", self._models),
            Route("/v1/chat/completions", self._complete, methods=["POST"]),
            Route("/counts", self._counts),
        ]

    async def _models(self, _request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [{"id": name, "object": "model"} for name in MODELS]})

    async def _counts(self, _request: Request) -> Response:
        return JSONResponse({"calls": self._calls, "open": self._open})

    async def _complete(self, request: Request) -> Response:
        body = orjson.loads(await request.body())
        model = str(body["model"])
        self._calls[model] += 1
        if model == "refuses":
            return JSONResponse({"error": {"message": REASON, "type": "invalid_request_error"}}, 400)
        if body.get("stream"):
            return StreamingResponse(self._chunks(model, self._calls[model]), media_type="text/event-stream")
        message = {"role": "assistant", "content": "".join(_words(model))}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return JSONResponse(_envelope(model, "chat.completion", choice))

    async def _chunks(self, model: str, call: int) -> AsyncGenerator[bytes, None]:
        self._open += 1
        try:
            for number, word in enumerate(_words(model)):
                if number == SENT and (model == "breaks" or (model == "breaks-once" and call == 1)):
                    raise CutError
                if number == SENT and model == "fails":
                    yield _frame({"error": {"message": FAULT, "type": "server_error", "code": "out_of_memory"}})
                    return
                delta = {"role": "assistant", "content": word}
                yield _frame(_envelope(model, "chat.completion.chunk", {"index": 0, "delta": delta}))
                await asyncio.sleep(PAUSE_S)
            end = {"index": 0, "delta": {}, "finish_reason": "stop"}
            yield _frame(_envelope(model, "chat.completion.chunk", end))
            yield b"data: [DONE]\n\n"
        finally:
            self._open -= 1


def _words(model: str) -> tuple[str, ...]:
    return LONG if model == "long-tale" else WORDS


def _envelope(model: str, kind: str, choice: dict[str, Any]) -> dict[str, Any]:
    usage = {"prompt_tokens": 1, "completion_tokens": 20, "total_tokens": 21}
    made = {"id": "chatcmpl-1", "object": kind, "created": int(time.time()), "model": model, "choices": [choice]}
    return made if "delta" in choice else {**made, "usage": usage}


def _frame(data: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(data) + b"\n\n"


def create_app() -> Starlette:
    """Return the app."""
    return Starlette(routes=ChatModel().routes())


if __name__ == "__main__":
    serve(create_app(), 0, BANNER)
