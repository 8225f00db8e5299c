#!/usr/bin/env bash
# Agent Framework gives the text of a streamed answer twice: in pieces, and then as a whole.
#
# Seen with:  agent-framework-openai 1.17.0, agent-framework-core 1.23.0, openai 3.57.0, on 2026-11-29.
# Expected:   the answer once, from the loop that the docstring of agent_framework.Agent shows. It prints the text of
#             each update, with end="".
# Seen:       that loop prints every delta, and then the whole text again, because the event response.output_text.done
#             becomes an update with the same text. Only the merge_mode "replace" of its content tells it apart.
#             get_final_response() has the text once.
# Matters to: programs that show or forward an answer while it is written.
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
from agent_framework.openai import OpenAIChatClient
from openai import AsyncOpenAI

WORDS = ["Whales ", "sing ", "in ", "the ", "ocean."]
TEXT = "".join(WORDS)


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


def serve(_request):
    """Answer with the stream."""
    numbered = [{"type": kind, "sequence_number": n, **rest} for n, (kind, rest) in enumerate(events())]
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in numbered]
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content="".join(frames).encode())


async def main():
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(serve))
    client = AsyncOpenAI(api_key="unused", base_url="http://127.0.0.1/v1", http_client=http)
    agent = Agent(client=OpenAIChatClient(model="a-model", async_client=client))
    stream = agent.run("What do whales do?", stream=True)
    updates = [update async for update in stream]
    return updates, (await stream.get_final_response()).text


updates, final = asyncio.run(asyncio.wait_for(main(), 60))
printed = "".join(update.text for update in updates)
whole = [content.merge_mode for update in updates for content in update.contents if content.text == TEXT]
print(f"the loop prints {printed!r}\nthe final response has {final!r}\nthe merge_mode of the whole text is {whole}")
if printed != TEXT + TEXT or final != TEXT or whole != ["replace"]:
    sys.exit("CHANGED")
print("as described")
PYTHON
