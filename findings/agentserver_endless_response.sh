#!/usr/bin/env bash
# Microsoft's server for hosted agents leaves a background response in_progress for ever after its handler has ended.
#
# Seen with:  azure-ai-agentserver-responses 2.4.0b1, azure-ai-agentserver-core 2.3.0b2, on 2026-11-29.
# Expected:   status failed. The handler implementation guide of the package says so in two places, "Rules" of its
#             section on cancellation and "Terminal Event Requirement": if a handler ends without a terminal event, the
#             framework makes the response failed. The README says that terminal events are guaranteed. The guide also
#             says that a handler need not think about stream and background.
# Seen:       the same handler is failed in the foreground and with stream, and in_progress with background alone. A
#             cancel ends it.
# Matters to: callers that poll. They wait for ever, and learn nothing.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
server=
stop() {
    if [[ -n $server ]]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$folder"
}
trap stop EXIT
export NO_PROXY=127.0.0.1 no_proxy=127.0.0.1
"${PYTHON:-python3}" -m venv "$folder/venv"
python=$folder/venv/bin/python
"$python" -m pip install --quiet --disable-pip-version-check --no-compile \
    azure-ai-agentserver-responses==2.4.0b1 azure-ai-agentserver-core==2.3.0b2

cat >"$folder/server.py" <<'PYTHON'
import sys

from azure.ai.agentserver.responses import ResponseEventStream, ResponsesAgentServerHost


async def handler(request, context, _cancellation_signal):
    """Begin a response. Then just end, and say so in a file."""
    stream = ResponseEventStream(response_id=context.response_id, request=request)
    yield stream.emit_created()
    yield stream.emit_in_progress()
    with open(sys.argv[2], "a") as ends:
        ends.write("ended\n")


app = ResponsesAgentServerHost(configure_observability=None)
app.response_handler(handler)
app.run(host="127.0.0.1", port=int(sys.argv[1]))
PYTHON
port=$("$python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
AGENTSERVER_STATE_ROOT=$folder/state "$python" "$folder/server.py" "$port" "$folder/ends" >"$folder/log" 2>&1 &
server=$!

"$python" - "$port" "$folder/ends" <<'PYTHON' || { tail -n 20 "$folder/log" >&2; exit 1; }
import json
import pathlib
import sys
import time
import urllib.request

BASE, ENDS = f"http://127.0.0.1:{sys.argv[1]}", pathlib.Path(sys.argv[2])
WATCHED_S = 10.0  # after the handler has ended


def call(method, path, **body):
    """Return the text of an answer."""
    request = urllib.request.Request(BASE + path, json.dumps(body).encode() if body else None, method=method)
    request.add_header("content-type", "application/json")
    with urllib.request.urlopen(request, timeout=20) as answer:
        return answer.read().decode()


def within(seconds, ready, what):
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            sys.exit(f"not within {seconds} s: {what}")
        time.sleep(0.1)


def is_up():
    try:
        call("GET", "/readiness")
    except OSError:
        return False
    return True


def count_of_ends():
    return len(ENDS.read_text().splitlines()) if ENDS.exists() else 0


within(40, is_up, "the server is up")
work = {"model": "a-model", "input": "Hello", "store": True}
seen = {"foreground": json.loads(call("POST", "/responses", **work))["status"]}
streamed = call("POST", "/responses", **work, background=True, stream=True)
ends = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
seen["background, stream"] = ends[-1]["response"]["status"]

before = count_of_ends()
path = "/responses/" + json.loads(call("POST", "/responses", **work, background=True))["id"]
within(20, lambda: count_of_ends() > before, "the handler has ended")
until = time.monotonic() + WATCHED_S
while (status := json.loads(call("GET", path))["status"]) == "in_progress" and time.monotonic() < until:
    time.sleep(0.5)
seen["background"] = status

for form, status in seen.items():
    print(f"{form}: {status}")
print(f"the last one was watched for up to {WATCHED_S:.0f} s after the handler had ended")
if seen != {"foreground": "failed", "background, stream": "failed", "background": "in_progress"}:
    sys.exit("CHANGED")
cancelled = json.loads(call("POST", path + "/cancel"))["status"]
print(f"after a cancel: {cancelled}")
if cancelled != "cancelled":
    sys.exit("CHANGED")
print("as described")
PYTHON
