"""The host's part beside Microsoft's worker: routes, forwarded HTTP, and messages that are invocations."""

import json
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx

from local.host import bindings
from local.host.functions import Function
from local.host.routes import Route, find, in_order, route_of
from local.stack.ports import free_port
from local.stack.process import ROOT, Process, wait_for
from tests.support.service_process import CALL_S, UNEXPECTED, Json

HOME = Path(sys.prefix) / "conformance"
START_S = 60.0
CONNECTS = 10  # the host's, too


class Invocation:
    """A function that runs, or has run, in the worker."""

    def __init__(self, channel: int, function_id: str, inputs: Json, metadata: Json) -> None:
        self.id = str(uuid4())
        call = {"invocation_id": self.id, "function_id": function_id, "inputs": inputs, "metadata": metadata}
        self._connection = _called(channel, call="invoke", **call)

    def result(self) -> Json:
        """Wait for the function's end and return whether it succeeded, else its exception."""
        return _answer(self._connection)

    def close(self) -> None:
        """Listen no more."""
        self._connection.close()


def _called(channel: int, **call: object) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", channel), timeout=CALL_S)
    connection.sendall(json.dumps(call).encode() + b"\n")
    return connection


def _answer(connection: socket.socket) -> Json:
    with connection, connection.makefile() as lines:
        answer: Json = json.loads(lines.readline())
    return answer


@dataclass(frozen=True)
class Worker:
    """Microsoft's worker as it runs: what it has reported, and what it has been asked to do."""

    url: str
    channel: int
    log: Path
    reported: Mapping[str, Json]

    def load(self, name: str) -> Json:
        """Let it load a function; return how that went."""
        return _answer(_called(self.channel, call="load", function_id=self.reported[name]["id"]))

    def invoke(self, name: str, inputs: Json, metadata: Json | None = None) -> Invocation:
        """Begin an invocation."""
        return Invocation(self.channel, self.reported[name]["id"], inputs, metadata or {})

    def named(self, trigger: str) -> list[str]:
        """Return the names of all functions with triggers of a type."""
        return [name for name, one in self.reported.items() if one["raw_bindings"][0]["type"] == trigger]

    def unexpected(self) -> list[str]:
        """Return what it has logged of things that must not happen."""
        return [line for line in self.log.read_text().splitlines() if any(text in line for text in UNEXPECTED)]


@contextmanager
def worker(directory: Path, app: Path, settings: Mapping[str, str]) -> Iterator[Worker]:
    """Run a worker over an app until the end of the block."""
    channel, log = free_port(), directory / "worker.log"
    program = ROOT / "tests" / "conformance" / "worker.py"
    command = [str(HOME / "bin" / "python"), str(program), str(app), str(channel)]
    process = Process("worker", command, env=settings, log=log)
    try:
        url = process.url(START_S)
        assert wait_for(lambda: _listens(channel), START_S)
        yield Worker(url, channel, log, _answer(_called(channel, call="describe")))
    finally:
        process.stop()


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class Forwarding(httpx.BaseTransport):
    """Takes each request where its route leads: forwards it to the worker, beside the invocation it belongs to."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._routes = routes(worker)
        self._server = httpx.HTTPTransport(retries=CONNECTS)
        self.invocations: list[tuple[str, Invocation]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Start the function; give its answer as it comes."""
        found = find(self._routes, request.method, request.url.path)
        assert found, f"no function for {request.method} {request.url.path}"
        route, parameters = found
        invocation = self._worker.invoke(route.function.name, {"req": http_input(parameters)})
        self.invocations.append((route.function.name, invocation))
        request.headers["x-ms-invocation-id"] = invocation.id
        return self._server.handle_request(request)

    def close(self) -> None:
        """Close the connections to the worker."""
        self._server.close()
        for _, invocation in self.invocations:
            invocation.close()

    def results(self) -> list[tuple[str, Json]]:
        """Wait for every function that was asked for, and return its name and how it went."""
        return [(name, invocation.result()) for name, invocation in self.invocations]


def http_input(parameters: Mapping[str, str]) -> Json:
    """Return what an invocation says of a request that comes by HTTP: its route's parameters."""
    return {"http": {"method": "", "url": "", "headers": {}, "query": {}, "params": dict(parameters)}}


@contextmanager
def client(worker: Worker, base: str = "", key: str = "") -> Iterator[tuple[httpx.Client, Forwarding]]:
    """Give a client whose requests the host forwards, with the API key of a caller."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    forwarding = Forwarding(worker)
    with httpx.Client(
        base_url=f"{worker.url}/{base}", headers=headers, timeout=CALL_S, transport=forwarding, trust_env=False
    ) as http:
        yield http, forwarding


def routes(worker: Worker) -> Sequence[Route]:
    """Return the routes of what the worker has reported, in the order in which the host tries them."""
    functions = [_function(name, worker.reported[name]["raw_bindings"]) for name in worker.named("httpTrigger")]
    return in_order(route_of(one, one.trigger.fields["route"], "") for one in functions)


def _function(name: str, raw_bindings: Sequence[Json]) -> Function:
    declared = bindings.parse(json.dumps(raw_bindings[0]))
    return Function(name, _elsewhere, True, False, True, declared, {}, {})


def _elsewhere() -> None:
    """Stand for a function that only the worker can call."""
