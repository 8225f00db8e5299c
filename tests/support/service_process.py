"""The whole service as processes over real storage: hosts, model and receiver. Tests call it over HTTP."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import psutil

from local.credentials.keys import Credentials, new_credentials
from local.responses import TERMINAL as TERMINAL  # noqa: PLC0414 - the tests take it from here, with the rest
from local.responses import output_text as output_text  # noqa: PLC0414 - the same
from local.stack.hook import Hook
from local.stack.ports import free_port
from local.stack.process import Process, wait_for
from tests.support.peer_processes import Event, Json, ModelPeer, peer
from tests.support.receiver_peer import CALL_S, FINISHED_S, ReceiverPeer, receiver_peer

READY_S = 60.0
STOP_S = 45.0  # 30 s for HTTP in flight, and 10 s to the hard end
STREAM_S = 120.0  # longer than any healthy stream, also one whose lease expires after each of three kills
# What a host logs about an error that the code does not expect.
UNEXPECTED = (
    *(
        "request.failed",
        "run.failed",
        "run.given_up",
        "alarm.failed",
        "alarm.given_up",
        "function.failed",
        "handler.raised",
    ),
    "never retrieved",
)


class NotLoaded(httpx.TransportError):
    """The platform answered for a host that has not loaded the app yet. The call reached no function."""


class Host:
    """A Functions host that can be killed and restarted at the same address.

    If it ends by itself, because storage is gone, it is started again as the platform does.
    """

    def __init__(self, directory: Path, settings: Mapping[str, str], port: int, time_factor: float) -> None:
        self.port = port
        self._time_factor = time_factor
        self.url = f"http://127.0.0.1:{self.port}"
        self._directory = directory
        self._settings = settings
        self._logs: list[Path] = []
        self._process: Process | None = None

    def start(self) -> None:
        """Start the host and return when it is ready for requests."""
        self._logs.append(self._directory / f"host-{self.port}-{len(self._logs)}.log")
        flags = ("--port", str(self.port), "--time-factor", str(self._time_factor))
        command = [sys.executable, "-m", "local.host", *flags]
        self._process = Process("host", command, env=self._settings, log=self._logs[-1])
        self._process.restart_when_it_gives_up()
        assert wait_for(self._is_ready, READY_S), self.written()

    def kill(self) -> None:
        """Kill the host with SIGKILL, as a crash would. What follows has the platform's own durations."""
        assert self._process
        assert self._time_factor == 1, "a test that kills a host runs with a time factor of 1"
        os.kill(self._process.pid, signal.SIGKILL)
        self._process.stop()

    def stop(self) -> None:
        """Stop the host with SIGTERM, as the platform does, and return when it has ended hard."""
        assert self._process
        self._process.stop(STOP_S)

    def close(self) -> None:
        """End the host at once, if it runs. Its locks of timers are free then."""
        if self._process:
            self._process.stop(number=signal.SIGINT)

    def memory(self) -> int:
        """Return the resident memory of the host in bytes."""
        assert self._process
        return int(psutil.Process(self._process.pid).memory_info().rss)

    def written(self) -> str:
        """Return everything that the host has logged since its first start."""
        return "\n".join(log.read_text() for log in self._logs)

    def _is_ready(self) -> bool:
        assert self._process
        self._process.check()
        try:
            return httpx.get(f"{self.url}/health/ready", timeout=CALL_S, trust_env=False).is_success
        except httpx.TransportError:
            return False


@dataclass(frozen=True)
class Service:
    """The running service: its hosts, its model and receiver, and the credentials of its callers."""

    hosts: list[Host]
    model: ModelPeer
    receiver: ReceiverPeer
    callers: dict[str, Credentials]
    _cleanup: ExitStack = field(repr=False)

    def client(self, caller: str = "first", *, host: int = 0, base: str = "openai/v1") -> httpx.Client:
        """Return a client of one host that calls as this caller. It is closed with the service."""
        client = httpx.Client(
            base_url=f"{self.hosts[host].url}/{base}",
            headers={"Authorization": f"Bearer {self.callers[caller].api_key}"},
            timeout=CALL_S,
            trust_env=False,
        )
        return self._cleanup.enter_context(client)

    def stranger(self) -> httpx.Client:
        """Return a client of the first host without a key."""
        return self._cleanup.enter_context(httpx.Client(base_url=self.hosts[0].url, timeout=CALL_S, trust_env=False))

    def with_callback(self, **fields: object) -> Json:
        """Return a request for background work with a callback to the receiver."""
        request: Json = {"model": "sim-1s", "input": "One. Two.", "background": True}
        return {**request, "callback_url": f"{self.receiver.url}/callback", **fields}

    def unexpected(self) -> list[str]:
        """Return the log lines of all hosts about events that must not happen."""
        lines = [line for host in self.hosts for line in host.written().splitlines()]
        return [line for line in lines if any(text in line for text in UNEXPECTED)]


@contextmanager
def service(
    directory: Path,
    connection: str,
    *,
    hosts: int = 1,
    callers: Sequence[str] = ("first",),
    operators: Sequence[str] = (),
    webhooks: bool = False,
    time_factor: float = 0.1,
    **settings: str,
) -> Iterator[Service]:
    """Run the service over a storage account until the end of the block.

    The platform's durations are tenths, so that a test with an outage or a kill states `time_factor=1`.
    The receiver verifies with the first caller's secret. `operators` name callers with that role. With `webhooks`, the
    model sends webhooks to the first host. Further keywords are settings of the hosts.
    """
    known = {name: new_credentials(name) for name in callers}
    ports = [free_port() for _ in range(hosts)]
    hook = Hook(f"http://127.0.0.1:{ports[0]}")
    with ExitStack() as cleanup:
        model_url = cleanup.enter_context(peer(directory, "local.model", *(hook.flags if webhooks else ())))
        model = cleanup.enter_context(closing(ModelPeer(model_url)))
        receiver = cleanup.enter_context(receiver_peer(directory, known[callers[0]]))
        roles = {name: {"role": "operator"} for name in operators}
        elements = [one.configuration() | roles.get(name, {}) for name, one in known.items()]
        environment = _settings(connection, model_url, elements) | (hook.settings if webhooks else {}) | settings
        fleet = [Host(directory, environment, port, time_factor) for port in ports]
        running = Service(fleet, model, receiver, known, cleanup)
        for host in running.hosts:
            cleanup.callback(host.close)
            host.start()
        yield running


def _settings(connection: str, model_url: str, callers: Sequence[Mapping[str, object]]) -> dict[str, str]:
    return {
        "AzureWebJobsStorage": connection,
        "CALLERS": json.dumps(callers),
        "CALLBACK_ALLOW_LOOPBACK": "true",
        "PYTHON_ENABLE_INIT_INDEXING": "1",
        "UPSTREAM_BASE_URL": model_url,
        "UPSTREAM_API_KEY": "simulated",
        "UPSTREAM_HONOURS_IDEMPOTENCY_KEY": "true",
    }


def check_loaded(answer: httpx.Response) -> None:
    """Raise NotLoaded for a 404 with an empty body, which is never the app's. A caller repeats such a call."""
    if answer.status_code == 404 and answer.headers.get("content-length") == "0":
        raise NotLoaded("the app is not loaded yet", request=answer.request)


def create(client: httpx.Client, model: str = "sim-1s", **fields: object) -> Json:
    """Start background work and return the response object."""
    answer = client.post("/responses", json={"model": model, "input": "One. Two.", "background": True, **fields})
    assert answer.status_code == 200, answer.text
    response: Json = answer.json()
    return response


def finished(client: httpx.Client, response: Json, deadline_s: float = FINISHED_S) -> Json:
    """Poll with the continuation token, as a caller does, and return the response when it is terminal."""

    def ended() -> Json | None:
        answer = client.get(f"/responses/{response['continuation_token'] or response['id']}")
        assert answer.status_code == 200, answer.text
        found: Json = answer.json()
        return found if found["status"] in TERMINAL else None

    found = wait_for(ended, deadline_s)
    assert found, f"{response['id']} has not ended within {deadline_s:g} s"
    return found


@contextmanager
def streaming(
    client: httpx.Client, model: str = "sim-1s", *, key: str | None = None, **fields: object
) -> Iterator[Iterator[Event]]:
    """Create streamed background work and yield its events as they arrive. The connection closes with the block."""
    request = {"model": model, "input": "One. Two.", "background": True, "stream": True, **fields}
    headers = {"Idempotency-Key": key} if key else {}
    with client.stream("POST", "/responses", json=request, headers=headers) as answer:
        yield events_in(answer)


def streamed(client: httpx.Client, model: str = "sim-1s", **fields: Any) -> list[Event]:
    """Return all events of streamed background work."""
    with streaming(client, model, **fields) as events:
        return list(events)


@contextmanager
def following(
    client: httpx.Client, named: str, after: object = None, *, last_event_id: str | None = None
) -> Iterator[Iterator[Event]]:
    """Yield the events of a response after a cursor. The connection closes with the block.

    `named` is the id of the response or a token.
    """
    query = {"stream": "true"} if after is None else {"stream": "true", "starting_after": str(after)}
    headers = {"Last-Event-ID": last_event_id} if last_event_id else {}
    with client.stream("GET", f"/responses/{named}", params=query, headers=headers) as answer:
        yield events_in(answer)


def followed(client: httpx.Client, named: str, after: object = None) -> list[Event]:
    """Return all events of a response after a cursor."""
    with following(client, named, after) as events:
        return list(events)


def events_in(answer: httpx.Response) -> Iterator[Event]:
    """Yield the events of a stream. Assert that each frame has the event's type as its name and its token as its id.

    An `error` frame has no name, because some clients would stop reading at it. Raise NotLoaded if no function was
    reached.
    """
    check_loaded(answer)
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/event-stream; charset=utf-8")
    fields: dict[str, str] = {}
    end = time.monotonic() + STREAM_S
    for line in answer.iter_lines():
        assert time.monotonic() < end, "heartbeats, and no end"
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
            continue
        event: Event = json.loads(fields["data"])
        assert fields.get("event", "error") == event["type"]
        assert fields.get("id") == event["continuation_token"]
        yield event
        fields = {}


def numbers(events: Iterable[Event]) -> list[int]:
    """Return the sequence numbers of events."""
    return [event["sequence_number"] for event in events]


def kinds(events: Iterable[Event]) -> list[str]:
    """Return the types of events without their common prefix."""
    return [event["type"].removeprefix("response.") for event in events]


def text_of(events: Iterable[Event]) -> str:
    """Return the text that a reader puts together. A `response.in_progress` makes the text before it void."""
    text = ""
    for event in events:
        if event["type"] == "response.in_progress":
            text = ""
        text += event["delta"] if event["type"] == "response.output_text.delta" else ""
    return text
