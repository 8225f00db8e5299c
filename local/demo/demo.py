"""One background response from start to end, as a caller sees it."""

import functools
import sys
import time
from pathlib import Path

import httpx

from local.demo.caller import Caller, Response
from local.demo.opening import PARTS, opened_stack
from local.responses import output_text
from local.stack.process import PartError, wait_for
from local.stack.stack import Stack

SAMPLE = Path(__file__).with_name("sample.md")
INSTRUCTIONS = "Outline this document: its main points, one short sentence each."
RESULT_DEADLINE_S = 1800.0
CALLBACK_DEADLINE_S = 90.0
NEXT = "Next: make start, and paste its export lines into a second shell. docs/quickstart.md goes on from there."
TICK_S = 0.2

# Lines appear at once, even in a pipe.
_say = functools.partial(print, flush=True)


def demo(text: str, model: str) -> None:
    """Run one response on its own stack and print what happens. Raise PartError if a part fails."""
    _say(f"starting {PARTS}")
    with opened_stack() as running:
        _say(f"ready at {running.base_url}, state in Azurite from {running.storage.kind}")
        response = _follow(running, text, model)
        _say(f"\n{output_text(response)}\n")
        callback = _await_callback(running, response["id"])
        _say(f"callback {callback['type']}, webhook-id {callback['webhook_id']}: signature verified")
    _say("everything is stopped")
    _say(NEXT)


def _follow(running: Stack, text: str, model: str) -> Response:
    with Caller(running) as caller:
        began = time.monotonic()
        response = caller.submit(model, text, INSTRUCTIONS, f"{running.receiver_url}/callback")
        _say(f"submitted {len(text)} characters to {model}: {response['id']} after {_since(began)}")
        while token := response["continuation_token"]:
            _wait(began, caller, response["status"])
            response = caller.poll(token)
        _say(f"{response['status']} after {_since(began)} and {caller.polls} polls with the token")
    if response["status"] != "completed":
        raise PartError("model", f"the response is {response['status']}: {response['error']}")
    return response


def _wait(began: float, caller: Caller, status: str) -> None:
    """Update the progress line until the next poll is due."""
    if time.monotonic() - began > RESULT_DEADLINE_S:
        raise PartError("model", f"no result after {RESULT_DEADLINE_S:g} s")
    due = time.monotonic() + caller.poll_after_s
    if not sys.stdout.isatty():
        _say(f"{status}, {_since(began)}, {caller.polls} polls")
    while (left_s := due - time.monotonic()) > 0:
        _rewrite(f"{status}, {_since(began)}, {caller.polls} polls")
        time.sleep(min(TICK_S, left_s))
    _rewrite("")


def _rewrite(line: str) -> None:
    if sys.stdout.isatty():
        print(f"\r\x1b[K{line}", end="", flush=True)


def _since(began: float) -> str:
    return f"{time.monotonic() - began:.1f} s"


def _await_callback(running: Stack, response_id: str) -> dict[str, str]:
    def arrived() -> dict[str, str] | None:
        running.check()
        return _received(running.receiver_url, response_id)

    callback = wait_for(arrived, CALLBACK_DEADLINE_S)
    if not callback:
        raise PartError("callback", f"none arrived within {CALLBACK_DEADLINE_S:g} s")
    if not callback["verified"]:
        raise PartError("callback", "its signature is wrong")
    return callback


def _received(receiver_url: str, response_id: str) -> dict[str, str] | None:
    try:
        callbacks = httpx.get(f"{receiver_url}/_received", timeout=10.0, trust_env=False).json()
    except httpx.TransportError as error:
        raise PartError("receiver", str(error)) from error
    return next((callback for callback in callbacks if callback["response_id"] == response_id), None)
