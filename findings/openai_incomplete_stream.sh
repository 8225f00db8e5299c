#!/usr/bin/env bash
# The openai SDK for Python has no final response for a stream that reached its limit of tokens. It raises a RuntimeError.
#
# Seen with:  openai 3.57.0, on 2026-12-01.
# Expected:   get_final_response() "waits until the stream has been read to completion and returns the accumulated
#             ParsedResponse object" (its docstring). `response.incomplete` is a regular end of a stream, and its
#             response has the text so far, the reason and the usage. Without a stream, create() and parse() return it.
# Seen:       RuntimeError: Didn't receive a `response.completed` event. What was read is dropped with it. The event
#             itself is yielded, so who loops over the events can keep its response.
# Matters to: callers with max_output_tokens. The output is paid for, and a retry pays again.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile openai==3.57.0

"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from openai import OpenAI

TEXT = "Once upon a"
RESPONSE = {
    "id": "resp_1",
    "object": "response",
    "created_at": 1,
    "model": "m",
    "status": "in_progress",
    "error": None,
    "incomplete_details": None,
    "instructions": None,
    "metadata": {},
    "output": [],
    "parallel_tool_calls": True,
    "tool_choice": "auto",
    "tools": [],
    "usage": None,
}
PART = {"type": "output_text", "text": "", "annotations": [], "logprobs": []}
ITEM = {"id": "msg_1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
WHOLE = ITEM | {"status": "incomplete", "content": [PART | {"text": TEXT}]}
ENDED = RESPONSE | {"status": "incomplete", "output": [WHOLE], "incomplete_details": {"reason": "max_output_tokens"}}
AT = {"output_index": 0, "content_index": 0, "item_id": "msg_1"}
EVENTS = [
    {"type": "response.created", "response": RESPONSE},
    {"type": "response.output_item.added", "output_index": 0, "item": ITEM},
    {"type": "response.content_part.added", **AT, "part": PART},
    {"type": "response.output_text.delta", **AT, "delta": TEXT, "logprobs": []},
    {"type": "response.output_text.done", **AT, "text": TEXT, "logprobs": []},
    {"type": "response.content_part.done", **AT, "part": WHOLE["content"][0]},
    {"type": "response.output_item.done", "output_index": 0, "item": WHOLE},
    {"type": "response.incomplete", "response": ENDED},
]


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if asked.get("stream"):
            frames = (json.dumps(one | {"sequence_number": number}) for number, one in enumerate(EVENTS))
            kind, body = "text/event-stream", "".join(f"data: {frame}\n\n" for frame in frames)
        else:
            kind, body = "application/json", json.dumps(ENDED)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
client = OpenAI(base_url=f"http://127.0.0.1:{server.server_port}/v1", api_key="k", max_retries=0)
asked = {"model": "m", "input": "Tell me a story.", "max_output_tokens": 4}

whole = client.responses.create(**asked)
print(f"create:              {whole.status}, {whole.output_text!r}")
with client.responses.stream(**asked) as stream:
    read = [event.type for event in stream]
    print(f"stream:              ends with {read[-1]}")
    try:
        raised = None
        print(f"get_final_response:  {stream.get_final_response().status}")
    except RuntimeError as error:
        raised = error
        print(f"get_final_response:  RuntimeError: {error}")
server.shutdown()
is_so = (whole.output_text, read[-1], type(raised)) == (TEXT, "response.incomplete", RuntimeError)
print("as described" if is_so else "the behaviour has changed")
sys.exit(not is_so)
PYTHON
