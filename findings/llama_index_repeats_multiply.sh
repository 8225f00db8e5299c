#!/usr/bin/env bash
# LlamaIndex's OpenAIResponses sends a call that times out twelve times, although its max_retries is 3.
#
# Seen with:  llama-index-llms-openai 0.8.3, llama-index-core 0.14.25, openai 2.54.0, on 2026-11-30.
# Expected:   four POSTs: one call, and "The maximum number of API retries" (the description of max_retries).
# Seen:       twelve. Its own decorator makes three attempts, and each of them is a call of the openai SDK, which gets
#             max_retries as well and so sends four POSTs. With max_retries=0 there is one.
# Matters to: models that take longer than the time-out. A server that goes on with the work of a lost call does it, and
#             is paid for it, twelve times.
#
# Exit code 0: as described. 1: the behaviour has changed.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-compile \
    llama-index-llms-openai==0.8.3 llama-index-core==0.14.25 openai==2.54.0

"$folder/venv/bin/python" - <<'PYTHON'
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from llama_index.llms.openai import OpenAIResponses

TIMEOUT_S = 0.3
posts = []
over = threading.Event()


class Silent(BaseHTTPRequestHandler):
    """Takes a request and answers nothing, like a model that thinks for longer than its client waits."""

    def do_POST(self):
        posts.append(self.path)
        over.wait(60)

    def log_message(self, *_):
        """Say nothing."""


server = ThreadingHTTPServer(("127.0.0.1", 0), Silent)
server.daemon_threads = True
threading.Thread(target=server.serve_forever, daemon=True).start()


def sent(**given):
    """Return how many POSTs one call sends, and what it raises."""
    posts.clear()
    url = f"http://127.0.0.1:{server.server_port}/v1"
    llm = OpenAIResponses(model="gpt-4o-mini", api_base=url, api_key="unused", timeout=TIMEOUT_S, **given)
    try:
        llm.complete("Two words, please.")
    except Exception as error:
        return len(posts), type(error).__name__
    return len(posts), None


seen = {"default": sent(), "max_retries=0": sent(max_retries=0)}
over.set()
print(f"max_retries is {OpenAIResponses(model='gpt-4o-mini', api_key='unused').max_retries} by default")
for how, what in seen.items():
    print(f"{how}: {what}")
if seen != {"default": (12, "APITimeoutError"), "max_retries=0": (1, "APITimeoutError")}:
    sys.exit("CHANGED")
print("as described")
PYTHON
