"""The lines of 40 mixed responses: each accepted response, each end and each hand-over is told, whoever tells it."""

import json
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx

from local.stack.process import wait_for
from tests.support.peer_processes import Json
from tests.support.service_process import Service, create, finished, service, streamed, streaming
from tests.support.stage import Say

SOON_S = 30.0


def polled(client: httpx.Client) -> str:
    """Create background work and poll until it has ended. Return the id."""
    return str(finished(client, create(client, "sim-0.5s"))["id"])


def in_foreground(client: httpx.Client) -> str:
    """Wait for the response in one call."""
    answer = client.post("/responses", json={"model": "sim-0.5s", "input": "One."})
    assert (answer.status_code, answer.json()["status"]) == (200, "completed")
    return str(answer.json()["id"])


def to_its_end(client: httpx.Client) -> str:
    """Read a stream to its end."""
    return str(streamed(client, "sim-0.5s")[-1]["response"]["id"])


def to_its_failure(client: httpx.Client) -> str:
    """Read a stream whose upstream fails."""
    last = streamed(client, "sim-fail-0.5s")[-1]
    assert last["type"] == "response.failed"
    return str(last["response"]["id"])


def left_early(client: httpx.Client) -> str:
    """Leave a stream after its first event. Another run takes the work over, and the caller polls for its end."""
    with streaming(client, "sim-2s") as events:
        first: Json = next(events)["response"]
    return str(finished(client, first)["id"])


KINDS = [(polled, 10), (in_foreground, 10), (to_its_end, 10), (to_its_failure, 5), (left_early, 5)]


def lines_of(running: Service, ids: Sequence[str]) -> list[dict[str, Any]]:
    """Return the lines about these responses."""
    lines = [json.loads(line) for line in running.hosts[0].written().splitlines() if line.startswith('{"event":')]
    return [line for line in lines if line.get("response") in ids]


def test_every_response_is_told_from_beginning_to_end(connection_string: str, tmp_path: Path, say: Say) -> None:
    """Ends that a stream's body, a task or a watch finds are told like those that a function finds."""
    with service(tmp_path, connection_string) as running:
        clients = [running.client() for _ in range(8)]
        jobs = [kind for kind, count in KINDS for _ in range(count)]
        with ThreadPoolExecutor(len(clients)) as pool:
            ids = list(pool.map(lambda job: job[1](clients[job[0] % len(clients)]), enumerate(jobs)))

        def told() -> Counter[str]:
            return Counter(line["event"] for line in lines_of(running, ids))

        wanted = {"response.accepted": 40, "response.completed": 35, "response.failed": 5, "run.handed_over": 5}
        assert wait_for(lambda: wanted.items() <= told().items(), SOON_S), told()
        say(f"lines of 40 responses: {dict(told().most_common())}")
        assert running.unexpected() == []
        levels = {line["level"] for line in lines_of(running, ids)}
        assert levels == {"info"}
        assert "ASGI callable" not in running.hosts[0].written()
