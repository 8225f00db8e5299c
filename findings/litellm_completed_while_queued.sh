#!/usr/bin/env bash
# LiteLLM ends every stream that it makes itself with response.completed, also if the work has only been queued.
#
# Seen with:  litellm 1.108.7, openai/ models that it does not know, on 2026-11-29. A wildcard route of its proxy does
#             the same.
# Expected:   OpenAI's reference of streaming events has one event for each end: response.completed,
#             response.incomplete and response.failed. With background and stream, the events follow the work.
# Seen:       LiteLLM does not know the model, so it asks the provider without stream, and makes events of the answer.
#             The provider's answer to a background call says queued. LiteLLM's stream says response.in_progress and
#             then response.completed, at once and without output. Only the status of the response in that event is
#             right. The same event ends a failed response and an incomplete one.
# Matters to: programs that look at the type of the last event. They take queued work for an empty answer and do not
#             fetch it, and take failures for successes.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
export LITELLM_LOCAL_MODEL_COST_MAP=True # it would fetch the newest list of models
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile litellm==1.108.7

"$folder/venv/bin/python" -B - <<'PYTHON'
import asyncio
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import litellm

ERROR = {"code": "server_error", "message": "The model broke."}
ENDS = {
    "queued": {},
    "failed": {"error": ERROR},
    "incomplete": {"incomplete_details": {"reason": "max_output_tokens"}},
}
asked = []


class Provider(BaseHTTPRequestHandler):
    """A provider whose response has the status that the input names."""

    def do_POST(self):
        call = json.loads(self.rfile.read(int(self.headers["content-length"])))
        asked.append(call)
        fixed = {"id": "resp_1", "object": "response", "created_at": 1, "model": "a-model", "output": []}
        fixed |= {"parallel_tool_calls": True, "tool_choice": "auto", "tools": [], "metadata": {}, "instructions": None}
        fixed |= {"error": None, "incomplete_details": None, "background": True, "status": call["input"]}
        body = json.dumps(fixed | ENDS[call["input"]]).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


async def last_event(base, status):
    """Return the last event of a stream, as its type and the status and output of its response."""
    stream = await litellm.aresponses(
        model="openai/a-model", input=status, background=True, stream=True, api_base=base, api_key="unused", timeout=20
    )
    last = [event async for event in stream][-1]
    return last.type.value, last.response.status, last.response.output


async def main():
    provider = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=provider.serve_forever, daemon=True).start()
    base = f"http://127.0.0.1:{provider.server_port}/v1"
    seen = {status: await last_event(base, status) for status in ENDS}
    provider.shutdown()
    return seen


seen = asyncio.run(asyncio.wait_for(main(), 60))
for status, last in seen.items():
    print(f"the provider says {status}: the stream ends with {last}")
print(f"the provider was asked for {[call.get('stream') for call in asked]} as stream")
if seen != {status: ("response.completed", status, []) for status in ENDS} or any(call.get("stream") for call in asked):
    sys.exit("CHANGED")
print("as described")
PYTHON
