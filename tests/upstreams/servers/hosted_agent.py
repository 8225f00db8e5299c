"""A server made of `agent-framework-hosting-responses`, as its README shows. The model of its agent follows a script.

    python hosted_agent.py PORT DIRECTORY

The Python must have the packages of tests/clients/agent-framework-hosting.txt. The agent says how many messages it was
given, and then WORDS, one every 40 ms:

* `words` to its end, and `slow` with a pause of 60 s in the middle
* `raises` until the middle, then its model raises
* `dies-once` until the middle, then the process ends with exit code 70. It does that once for each input

Every other model is refused. GET `/asked` shows each request by its input, and GET `/stopped` names the inputs whose
work was stopped.
"""

import asyncio
import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import uvicorn
from agent_framework import Agent, BaseChatClient, ChatResponse, ChatResponseUpdate, Content, Message
from agent_framework_hosting import AgentState
from agent_framework_hosting_responses import (
    create_response_id,
    responses_from_run,
    responses_from_streaming_run,
    responses_session_id,
    responses_to_run,
)
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

WORDS = ["Whales ", "sing ", "in ", "the ", "ocean, ", "and ", "bees ", "dance."]
MIDDLE = 4
WORD_S = 0.04
SLOW_S = 60.0
MODELS = {"words", "slow", "raises", "dies-once"}
SHOWN = ("background", "stream", "store", "include")
GAVE_UP = 70


class ScriptedChat(BaseChatClient[Any]):
    """A chat client that says WORDS as the model's name tells."""

    def __init__(self, directory: Path) -> None:
        super().__init__()
        self.stopped: list[str] = []
        self._directory = directory

    def _inner_get_response(
        self, *, messages: Sequence[Message], stream: bool, options: Mapping[str, Any], **_: Any
    ) -> Any:
        updates = self._updates(messages, options["model"])
        return self._build_response_stream(updates) if stream else self._whole(updates)

    async def _whole(self, updates: AsyncIterator[ChatResponseUpdate]) -> ChatResponse[Any]:
        return ChatResponse.from_updates([update async for update in updates])

    async def _updates(self, messages: Sequence[Message], model: str) -> AsyncIterator[ChatResponseUpdate]:
        try:
            for number, word in enumerate([f"{len(messages)}: ", *WORDS]):
                if number == MIDDLE:
                    await self._break(model, messages[-1].text)
                await asyncio.sleep(WORD_S)
                yield ChatResponseUpdate(role="assistant", contents=[Content.from_text(word)])
        except (asyncio.CancelledError, GeneratorExit):
            self.stopped.append(messages[-1].text)
            raise

    async def _break(self, model: str, text: str) -> None:
        if model == "raises":
            raise RuntimeError("the model broke")
        if model == "slow":
            await asyncio.sleep(SLOW_S)
        died = self._directory / f"died {text}"
        if model == "dies-once" and not died.exists():
            died.touch()
            os._exit(GAVE_UP)


class Routes:
    """The routes of the app. The one for responses does what the README of the package does."""

    def __init__(self, directory: Path) -> None:
        self._chat = ScriptedChat(directory)
        self._state = AgentState(Agent(client=self._chat, name="whales"))
        self._asked: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    async def responses(self, request: Request) -> Response:
        """Run the agent, streamed or not."""
        body = await request.json()
        try:
            run = responses_to_run(body)
        except ValueError as error:
            return JSONResponse({"detail": str(error)}, status_code=400)
        self._asked[run["messages"][-1].text].append({name: body.get(name) for name in SHOWN})
        if (model := body["model"]) not in MODELS:
            return JSONResponse({"detail": f"There is no model {model!r} here."}, status_code=404)
        session_id, _ = responses_session_id(body)
        answer = self._streamed if run["stream"] else self._whole
        return await answer(run["messages"], model, session_id)

    async def _whole(self, messages: Any, model: str, session_id: str | None) -> Response:
        response_id = create_response_id()
        session = await self._state.get_or_create_session(session_id or response_id)
        agent = await self._state.get_target()
        result = await agent.run(messages, session=session, options={"model": model})
        await self._state.set_session(response_id, session)
        return JSONResponse(responses_from_run(result, response_id=response_id))

    async def _streamed(self, messages: Any, model: str, session_id: str | None) -> Response:
        response_id = create_response_id()
        session = await self._state.get_or_create_session(session_id or response_id)
        agent = await self._state.get_target()

        async def events() -> AsyncIterator[str]:
            stream = agent.run(messages, stream=True, session=session, options={"model": model})
            async for event in responses_from_streaming_run(stream, response_id=response_id):
                yield event
            await self._state.set_session(response_id, session)

        return StreamingResponse(events(), media_type="text/event-stream")

    async def asked(self, _: Request) -> Response:
        """Return what was asked for, by input."""
        return JSONResponse(self._asked)

    async def stopped(self, _: Request) -> Response:
        """Return the inputs whose work was stopped."""
        return JSONResponse(self._chat.stopped)


if __name__ == "__main__":
    served = Routes(Path(sys.argv[2]))
    app = Starlette(
        routes=[
            Route("/responses", served.responses, methods=["POST"]),
            Route("/asked", served.asked),
            Route("/stopped", served.stopped),
        ]
    )
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="warning")
