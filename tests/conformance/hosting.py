"""The part of the Functions host that Microsoft's worker needs: routes, forwarded HTTP requests and invocations."""

import base64
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
from tests.support.peer_processes import Json
from tests.support.receiver_peer import CALL_S
from tests.support.service_process import UNEXPECTED

HOME = Path(sys.prefix) / "conformance"
START_S = 60.0
CONNECTS = 10  # connection retries, as many as the host makes


class Invocation:
    """The invocation of a function in the worker. It begins when this object is made."""

    def __init__(self, channel: int, function_id: str, inputs: Json, metadata: Json) -> None:
        self.id = str(uuid4())
        call = {"invocation_id": self.id, "function_id": function_id, "inputs": inputs, "metadata": metadata}
        self._connection = _called(channel, call="invoke", **call)

    def result(self) -> Json:
        """Wait until the function ends. Return `succeeded` and `exception`, which is null on success."""
        return _answer(self._connection)

    def close(self) -> None:
        """Close the connection, without waiting for the result."""
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
    """A running worker of Microsoft's: its addresses, its log, and the functions that it has reported, by name."""

    url: str
    channel: int
    log: Path
    reported: Mapping[str, Json]

    def load(self, name: str) -> Json:
        """Make the worker load a function, and return the result."""
        return _answer(_called(self.channel, call="load", function_id=self.reported[name]["id"]))

    def invoke(self, name: str, inputs: Json, metadata: Json | None = None) -> Invocation:
        """Begin an invocation of a function."""
        return Invocation(self.channel, self.reported[name]["id"], inputs, metadata or {})

    def named(self, trigger: str) -> list[str]:
        """Return the names of all functions with this type of trigger."""
        return [name for name, one in self.reported.items() if one["raw_bindings"][0]["type"] == trigger]

    def input_of(self, name: str, body: bytes) -> Json:
        """Return the input of a queue function as the host sends it: bytes if the binding asks for them, or text.

        https://learn.microsoft.com/azure/azure-functions/functions-reference-python describes `data_type`.
        """
        binding = self.reported[name]["raw_bindings"][0]
        if binding.get("dataType") == "BINARY":
            return {binding["name"]: {"bytes": base64.b64encode(body).decode()}}
        return {binding["name"]: {"string": body.decode(errors="replace")}}

    def lines(self, event: str) -> list[Json]:
        """Return the lines of the app about an event. Each one is a JSON object. Others write lines of other forms."""
        written = (line[line.find("{") :] for line in self.log.read_text().splitlines() if f'"event":"{event}"' in line)
        return [json.loads(text) for text in written]

    def unexpected(self) -> list[str]:
        """Return the log lines that report something unexpected."""
        return [line for line in self.log.read_text().splitlines() if any(text in line for text in UNEXPECTED)]


@contextmanager
def worker(directory: Path, app: Path, settings: Mapping[str, str]) -> Iterator[Worker]:
    """Run a worker with an app until the end of the block."""
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
    """Acts as the host: invokes the function that a request's route names, and forwards the request to the worker."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker
        self._routes = routes(worker)
        self._server = httpx.HTTPTransport(retries=CONNECTS)
        self.invocations: list[tuple[str, Invocation]] = []

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Invoke the function. Return its response, whose body is streamed."""
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
        """Wait until every invoked function has ended. Return the name and result of each."""
        return [(name, invocation.result()) for name, invocation in self.invocations]


def http_input(parameters: Mapping[str, str]) -> Json:
    """Return the input of an invocation whose request is forwarded by HTTP. It has only the parameters of the route."""
    return {"http": {"method": "", "url": "", "headers": {}, "query": {}, "params": dict(parameters)}}


@contextmanager
def client(worker: Worker, base: str = "", key: str = "") -> Iterator[tuple[httpx.Client, Forwarding]]:
    """Yield a client with an API key, and the transport that forwards its requests to the worker."""
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    forwarding = Forwarding(worker)
    with httpx.Client(
        base_url=f"{worker.url}/{base}", headers=headers, timeout=CALL_S, transport=forwarding, trust_env=False
    ) as http:
        yield http, forwarding


def routes(worker: Worker) -> Sequence[Route]:
    """Return the routes of the reported functions, in the order in which the host tries them."""
    functions = [_function(name, worker.reported[name]["raw_bindings"]) for name in worker.named("httpTrigger")]
    return in_order(route_of(one, one.trigger.fields["route"], "") for one in functions)


def _function(name: str, raw_bindings: Sequence[Json]) -> Function:
    declared = bindings.parse(json.dumps(raw_bindings[0]))
    return Function(name, _elsewhere, True, False, True, declared, {}, {})


def _elsewhere() -> None:
    """Do nothing. This is a placeholder for a function that only the worker can call."""
