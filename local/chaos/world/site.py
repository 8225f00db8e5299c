"""Everything that a run needs, as processes on loopback: storage, receivers, two upstreams, relays, three hosts."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import httpx

from local.azurite import Azurite, azurite
from local.chaos.plan import DEAD, FAILING, GOOD, PAIRS, SLOW, Plan
from local.chaos.world.apps import NEXT_FORMAT, copied
from local.chaos.world.fleet import Host
from local.chaos.world.relays import Relay, Relays, relays
from local.credentials.keys import Credentials, new_credentials
from local.stack.ports import free_port
from local.stack.process import ROOT, Process
from local.stack.stack import make_queue

START_S = 60.0
CALL_S = 20.0
LIMIT = 2  # of the upstream that has one
GATED_MODELS = {"gate-1s": "sim-1s", "gate-2s": "sim-2s", "gate-3s": "sim-3s"}
REPLIES = "replies"
SLOW_S = 3.0
# Each receiver is a host of its own for circuit breakers. Only Linux has more than one loopback address at once.
ADDRESSES = {
    name: f"127.0.0.{number if sys.platform == 'linux' else 1}"
    for number, name in enumerate((GOOD, SLOW, FAILING, DEAD), 1)
}
CALLERS = ("first", "second")


@dataclass
class Peer:
    """A process that is controlled over HTTP: a simulated model or a receiver."""

    process: Process

    @cached_property
    def port(self) -> int:
        """Its port, once it listens."""
        return httpx.URL(self.process.url(START_S)).port or 0

    def ask(self, path: str) -> Any:
        """Return the JSON that it answers to a GET."""
        return httpx.get(self._at(path), timeout=CALL_S, trust_env=False).raise_for_status().json()

    def tell(self, path: str, **body: object) -> None:
        """Send it a JSON object."""
        httpx.post(self._at(path), json=body, timeout=CALL_S, trust_env=False).raise_for_status()

    def _at(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"


@dataclass
class Site:
    """The running parts. `versions` are the apps that hosts are upgraded between, by name, the first one first."""

    plan: Plan
    directory: Path
    storage: Azurite
    connection: str = field(repr=False)
    credentials: Mapping[str, Credentials] = field(repr=False)
    receivers: dict[str, Peer]
    models: dict[str, Peer]
    relays: Relays
    fronts: Sequence[Relay]
    hosts: Sequence[Host]
    versions: Mapping[str, Path]
    callback_ports: Mapping[str, int]
    cleanup: ExitStack = field(repr=False)

    def callback_url(self, receiver: str) -> str:
        """Return the address of a receiver, as callers give it."""
        return f"http://{ADDRESSES[receiver]}:{self.callback_ports[receiver]}/callback"

    def revive(self) -> None:
        """Start the dead receiver, and let the failing and the slow one answer well."""
        dead = self.receivers[DEAD] = _receiver(self.cleanup, self.directory, DEAD, self.credentials["first"])
        self.relays.add(PAIRS[4], dead.port, ADDRESSES[DEAD], self.callback_ports[DEAD])
        self.receivers[FAILING].tell("/_faults", fail_first_per_id=0)
        self.receivers[SLOW].tell("/_faults", delay_s=0)

    def start_afresh(self) -> None:
        """End every host and start it again, with the first version. Return when all are ready."""
        name, app = next(iter(self.versions.items()))
        for host in self.hosts:
            host.close()
            host.start(app, name)
        for host in self.hosts:
            host.wait_until_ready()


@contextmanager
def site(directory: Path, plan: Plan, app: Path = ROOT) -> Iterator[Site]:
    """Run all parts until the end of the block. Each process is ended by its own id."""
    credentials = {name: new_credentials(name) for name in CALLERS}
    versions = {"this": app, "next": copied(directory / "next", NEXT_FORMAT, app)}
    with ExitStack() as cleanup:
        storage = cleanup.enter_context(azurite(kind="npm"))
        connection = storage.account()
        for name in ("requests", REPLIES):
            make_queue(connection, name)
        wires = cleanup.enter_context(relays())
        receivers = {name: _receiver(cleanup, directory, name, credentials["first"]) for name in (GOOD, SLOW, FAILING)}
        models = {name: _model(cleanup, directory, name) for name in ("open", "gated")}
        receivers[SLOW].tell("/_faults", delay_s=SLOW_S)
        receivers[FAILING].tell("/_faults", fail_first_per_id=1)
        callback_ports = {name: wires.add(PAIRS[4], one.port, ADDRESSES[name]).port for name, one in receivers.items()}
        callback_ports[DEAD] = free_port()
        settings = _settings(_through(wires, storage, connection), credentials.values(), _upstreams(wires, models))
        hosts = [Host(directory, settings, free_port(), skew_s) for skew_s in plan.skews_s]
        running = Site(
            plan,
            directory,
            storage,
            connection,
            credentials,
            receivers,
            models,
            wires,
            [wires.add(PAIRS[0], host.port) for host in hosts],
            hosts,
            versions,
            callback_ports,
            cleanup,
        )
        for host in hosts:
            cleanup.callback(host.close)
        running.start_afresh()
        yield running


def _receiver(cleanup: ExitStack, directory: Path, name: str, caller: Credentials) -> Peer:
    return _peer(cleanup, directory, name, "local.stack.receiver", "--secret", caller.signing_secret)


def _model(cleanup: ExitStack, directory: Path, name: str) -> Peer:
    return _peer(cleanup, directory, name, "local.model")


def _peer(cleanup: ExitStack, directory: Path, name: str, module: str, *flags: str) -> Peer:
    command = [sys.executable, "-m", module, *flags]
    process = Process(name, command, env={}, log=directory / f"{name}.log")
    cleanup.callback(process.stop, 3.0)
    return Peer(process)


def _through(wires: Relays, storage: Azurite, connection: str) -> str:
    """Return the connection string that leads to storage through relays. The signatures do not cover the port."""
    for pair, service in ((PAIRS[1], "table"), (PAIRS[2], "queue")):
        there = storage.ports[service]
        relay = wires.add(pair, there)
        name = f"{service.title()}Endpoint=http://127.0.0.1:"
        connection = connection.replace(f"{name}{there}/", f"{name}{relay.port}/")
    return connection


def _upstreams(wires: Relays, models: Mapping[str, Peer]) -> list[dict[str, object]]:
    urls = {name: f"http://127.0.0.1:{wires.add(PAIRS[3], one.port).port}/v1" for name, one in models.items()}
    common = {"honours_idempotency_key": True, "key_setting": "SIMULATED_KEY"}
    gated = {"models": [*GATED_MODELS], "rename": GATED_MODELS, "max_in_flight": LIMIT}
    return [
        {"name": "open", "base_url": urls["open"], "models": ["sim-*"], **common},
        {"name": "gated", "base_url": urls["gated"], **gated, **common},
    ]


def _settings(connection: str, callers: Iterable[Credentials], upstreams: Sequence[object]) -> dict[str, str]:
    return {
        "AGENTS_MODULE": "local.chaos.world.agents",
        "AzureWebJobsStorage": connection,
        "CALLERS": json.dumps([one.configuration() for one in callers]),
        "CALLBACK_ALLOW_LOOPBACK": "true",
        "PYTHON_ENABLE_INIT_INDEXING": "1",
        "REPLY_QUEUES": REPLIES,
        "REQUESTS_CALLER": "first",
        "STREAM_HEARTBEAT_S": "5",
        "UPSTREAMS": json.dumps(upstreams),
        "UPSTREAM_KEYS": '{"SIMULATED_KEY": "simulated"}',
    }
