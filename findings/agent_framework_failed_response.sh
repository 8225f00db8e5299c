#!/usr/bin/env bash
# Agent Framework returns a failed background response as an answer, without an error.
#
# Seen with:  agent-framework-openai 1.17.0, agent-framework-core 1.23.0, openai 3.57.0, on 2026-11-29.
# Expected:   an exception, or a content of type "error" with the message, as the same client raises for the event
#             "error" of a stream. OpenAI's reference says that a response whose generation failed has the status
#             failed and an error. The page "Agent Background Responses" of Agent Framework takes response.text as the
#             result once the token is None, and its loop looks at nothing else.
# Seen:       polled, a failed or cancelled response is an AgentResponse with the text "". In a stream that ends with
#             response.failed, it is the half text. No exception, no content of type "error". The only signs are
#             finish_reason, which is None and not "stop", and the raw response of the SDK two levels below.
# Matters to: programs that poll. They store an empty or half answer as a good one.
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

ERROR = {"code": "server_error", "message": "The model broke."}
ENDS = {"completed": None, "failed": ERROR, "cancelled": None}


def response(status, error=None):
    """Return a response object with that status and error, and without output."""
    fixed = {"id": "resp_1", "object": "response", "created_at": 1, "model": "a-model", "background": True}
    fixed |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}, "output": []}
    return {**fixed, "incomplete_details": None, "instructions": None, "status": status, "error": error}


def stream_of(last):
    """Return a stream that begins an answer of two words, says one of them, and ends with that event."""
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    item = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    events = [
        {"type": "response.created", "response": response("in_progress")},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": part},
        {"type": "response.output_text.delta", **place, "delta": "Half ", "logprobs": []},
        last,
    ]
    numbered = [{**event, "sequence_number": number} for number, event in enumerate(events)]
    frames = [f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in numbered]
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content="".join(frames).encode())


def agent_over(*answers):
    """Return an agent whose requests get these answers, in that order."""
    left = list(answers)
    http = httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: left.pop(0)))
    client = AsyncOpenAI(api_key="unused", base_url="http://127.0.0.1/v1", http_client=http, max_retries=0)
    return Agent(client=OpenAIChatClient(model="a-model", async_client=client))


def shown(answer):
    """Return what a program sees of an answer: its text, reason, token and the types of its contents."""
    kinds = [content.type for message in answer.messages for content in message.contents if content.type != "text"]
    return answer.text, answer.finish_reason, answer.continuation_token, kinds


async def polled(status, error):
    """Return what is seen of a background response that ends so."""
    ends = httpx2.Response(200, json=response(status, error))
    agent = agent_over(httpx2.Response(200, json=response("queued")), ends)
    answer = await agent.run("Two words, please.", options={"background": True})
    while answer.continuation_token is not None:
        answer = await agent.run(options={"continuation_token": answer.continuation_token})
    return shown(answer)


async def streamed(last):
    """Return what is seen of a streamed response that ends so."""
    stream = agent_over(stream_of(last)).run("Two words, please.", stream=True)
    return shown(await stream.get_final_response())


async def main():
    seen = {status: await polled(status, error) for status, error in ENDS.items()}
    seen["response.failed"] = await streamed({"type": "response.failed", "response": response("failed", ERROR)})
    try:
        await streamed({"type": "error", **ERROR, "param": None})
    except Exception as error:
        seen["error"] = type(error).__name__
    return seen


seen = asyncio.run(asyncio.wait_for(main(), 60))
for end, what in seen.items():
    print(f"{end}: {what}")
described = {
    "completed": ("", "stop", None, []),
    "failed": ("", None, None, []),
    "cancelled": ("", None, None, []),
    "response.failed": ("Half ", None, None, []),
    "error": "ChatClientException",
}
if seen != described:
    sys.exit("CHANGED")
print("as described")
PYTHON
