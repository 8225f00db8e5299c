"""The peers of the tests, each as a separate process that is reached over a socket."""

import contextlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeAlias

import httpx
import openai

from local.stack.process import Process

START_S = 20

Json: TypeAlias = dict[str, Any]
Event: TypeAlias = dict[str, Any]


@contextlib.contextmanager
def peer(directory: Path, module: str, *arguments: str) -> Iterator[str]:
    """Run `python -m module` until the end of the block, and yield the URL that it announces."""
    command = [sys.executable, "-m", module, *arguments]
    process = Process(module, command, env={}, log=directory / f"{module}.log")
    try:
        yield process.url(START_S)
    finally:
        process.stop()


def eventually(holds: Callable[[], bool], deadline_s: float = 5) -> None:
    """Return once the condition holds, and fail at the deadline."""
    end = time.monotonic() + deadline_s
    while not holds():
        assert time.monotonic() < end, "the condition did not come to hold"
        time.sleep(0.01)


class ModelPeer:
    """A client of a simulated model, over plain HTTP and through an SDK that does not retry."""

    def __init__(self, url: str) -> None:
        self.http = httpx.Client(base_url=url.removesuffix("/v1"), timeout=10)
        self.sdk = openai.OpenAI(base_url=url, api_key="any", max_retries=0, timeout=10)

    def close(self) -> None:
        """Close both clients."""
        self.http.close()
        self.sdk.close()

    def reset(self) -> None:
        """Reset the model to its initial state."""
        self.http.post("/_sim/reset").raise_for_status()

    def faults(self, **switches: object) -> None:
        """Set fault switches."""
        self.http.post("/_sim/faults", json=switches).raise_for_status()

    def stats(self) -> dict[str, Any]:
        """Return the model's counters."""
        counted: dict[str, Any] = self.http.get("/_sim/stats").json()
        return counted

    def create(self, model: str = "sim-60s", **fields: Any) -> httpx.Response:
        """Send a create call, for a background response unless the fields say otherwise."""
        return self.http.post("/v1/responses", json={"model": model, "background": True, **fields})

    def create_with_key(self, key: str, **fields: Any) -> httpx.Response:
        """Send a create call with an idempotency key."""
        body = {"model": "sim-60s", "background": True, **fields}
        return self.http.post("/v1/responses", json=body, headers={"idempotency-key": key})

    def get(self, response_id: str) -> httpx.Response:
        """Send a retrieve call."""
        return self.http.get(f"/v1/responses/{response_id}")

    @contextlib.contextmanager
    def streaming(self, model: str, **fields: Any) -> Iterator[Iterator[Event]]:
        """Yield the events of a streamed create call. The connection closes with the block."""
        with self.http.stream("POST", "/v1/responses", json={"model": model, "stream": True, **fields}) as answer:
            assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
            yield events_of(answer)

    @contextlib.contextmanager
    def replaying(self, response_id: str, after: int = -1) -> Iterator[Iterator[Event]]:
        """Yield all events after a number. The connection closes with the block."""
        query = {"stream": "true", "starting_after": str(after)}
        with self.http.stream("GET", f"/v1/responses/{response_id}", params=query) as answer:
            assert answer.status_code == 200
            yield events_of(answer)

    def streamed(self, model: str, **fields: Any) -> list[Event]:
        """Return all events of a streamed create call."""
        with self.streaming(model, **fields) as events:
            return list(events)

    def replayed(self, response_id: str, after: int = -1) -> list[Event]:
        """Return all events after a number."""
        with self.replaying(response_id, after) as events:
            return list(events)

    def finished(self, model: str, **fields: Any) -> dict[str, Any]:
        """Create a background response and return it when it is terminal."""
        response_id = self.create(model, **fields).json()["id"]
        eventually(lambda: self.get(response_id).json()["status"] not in {"queued", "in_progress"})
        found: dict[str, Any] = self.get(response_id).json()
        return found


@contextlib.contextmanager
def model_peer(directory: Path, *arguments: str) -> Iterator[ModelPeer]:
    """Run a simulated model with these flags until the end of the block, and yield a client of it."""
    with peer(directory, "local.model", *arguments) as url, contextlib.closing(ModelPeer(url)) as model:
        yield model


def events_of(answer: httpx.Response) -> Iterator[Event]:
    """Yield the events of a stream. Assert that each frame has the event's type as its name."""
    name = ""
    for line in answer.iter_lines():
        field, _, value = line.partition(": ")
        if field == "event":
            name = value
        elif field == "data":
            event: Event = json.loads(value)
            assert event["type"] == name
            yield event


def error_of(answer: httpx.Response) -> tuple[int, str | None, str | None]:
    """Return status, `param` and `code` of an error answer. Assert that its envelope is complete."""
    error = answer.json()["error"]
    assert error.keys() == {"message", "type", "param", "code"}
    return answer.status_code, error["param"], error["code"]
