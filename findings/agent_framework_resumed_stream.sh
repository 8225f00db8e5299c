#!/usr/bin/env bash
# Agent Framework resumes a stream of background work from its first event, and few updates have a token for that.
#
# Seen with:  agent-framework-openai 1.17.0, agent-framework-core 1.23.0, openai 3.57.0, on 2026-11-29.
# Expected:   the page "Agent Background Responses" of Agent Framework says for Python that each update of a stream has
#             a continuation_token, and that the last one resumes the stream where it was left.
# Seen:       1. Updates with text have the token None. So the loop of that page, which keeps the token of the last
#                update, has nothing to resume with after the first word.
#             2. The token of an earlier update is only the id of the response. Its GET has no starting_after, which
#                the API offers. So the words from before the break come again.
# Matters to: programs that resume after a lost connection. They begin again or stop, or show words twice.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    agent-framework-openai==1.17.0 agent-framework-core==1.23.0 openai==3.57.0

"$folder/venv/bin/python" - <<'PYTHON'
import asyncio
import json
import sys

import httpx2
from agent_framework import Agent
from agent_framework.exceptions import ChatClientException
from agent_framework.openai import OpenAIChatClient
from openai import AsyncOpenAI

WORDS = ["Whales ", "sing ", "in ", "the ", "ocean."]
TEXT = "".join(WORDS)
asked = []


def response(status, output):
    """Return a response object with that status and output."""
    fixed = {"id": "resp_1", "object": "response", "created_at": 1, "model": "a-model", "background": True}
    fixed |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}}
    empty = {"error": None, "incomplete_details": None, "instructions": None}
    return {**fixed, **empty, "status": status, "output": output}


def events():
    """Yield the type and the members of each event of one answer, as OpenAI streams it."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    message = {"id": "msg_1", "type": "message", "role": "assistant"}
    part = {"type": "output_text", "text": TEXT, "annotations": []}
    begun = {**message, "status": "in_progress", "content": []}
    done = {**message, "status": "completed", "content": [part]}
    yield "response.created", {"response": response("queued", [])}
    yield "response.in_progress", {"response": response("in_progress", [])}
    yield "response.output_item.added", {"output_index": 0, "item": begun}
    yield "response.content_part.added", {**place, "part": {**part, "text": ""}}
    for word in WORDS:
        yield "response.output_text.delta", {**place, "delta": word, "logprobs": []}
    yield "response.output_text.done", {**place, "text": TEXT, "logprobs": []}
    yield "response.content_part.done", {**place, "part": part}
    yield "response.output_item.done", {"output_index": 0, "item": done}
    yield "response.completed", {"response": response("completed", [done])}


class Lost(httpx2.AsyncByteStream):
    """A stream whose connection breaks after these frames."""

    def __init__(self, frames):
        self.frames = frames

    async def __aiter__(self):
        for frame in self.frames:
            yield frame
        raise httpx2.ReadError("The connection broke.")


def serve(request):
    """Answer a POST with a stream that breaks after two words, and a GET with what follows the event that it names."""
    asked.append(f"{request.method} {request.url.raw_path.decode()}")
    after = int(request.url.params.get("starting_after", -1))
    numbered = [{"type": kind, "sequence_number": n, **rest} for n, (kind, rest) in enumerate(events())]
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n".encode() for event in numbered]
    headers = {"content-type": "text/event-stream"}
    if request.method == "POST":
        return httpx2.Response(200, headers=headers, stream=Lost(frames[:6]))
    return httpx2.Response(200, headers=headers, content=b"".join(frames[after + 1 :]))


async def main():
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(serve))
    client = AsyncOpenAI(api_key="unused", base_url="http://127.0.0.1/v1", http_client=http)
    agent = Agent(client=OpenAIChatClient(model="a-model", async_client=client))
    before, tokens = [], []
    try:
        async for update in agent.run("What do whales do?", stream=True, options={"background": True}):
            if update.continuation_token:
                tokens.append(update.continuation_token)
            if update.text:
                before.append((update.text, update.continuation_token))
    except ChatClientException as error:
        print(f"after {len(before)} words: {type(error).__name__}")
    stream = agent.run(stream=True, options={"continuation_token": tokens[-1]})
    return before, tokens[-1], [update.text async for update in stream if update.text]


before, token, after = asyncio.run(asyncio.wait_for(main(), 60))
print(f"words and tokens before the break: {before}\nthe last token that is not None: {token}")
print(f"resumed with: {asked[-1]}\nwords after that: {after}")
if before != [(word, None) for word in WORDS[:2]] or token != {"response_id": "resp_1"}:
    sys.exit("CHANGED")
if asked[-1] != "GET /v1/responses/resp_1?stream=true" or after[: len(WORDS)] != WORDS:
    sys.exit("CHANGED")
print("as described")
PYTHON
