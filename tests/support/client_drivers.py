"""Runs the drivers of the table of clients, and checks what they report."""

import json
import os
import subprocess
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from local.stack.process import ROOT
from tests.clients.drivers.driving import CASES, Shown
from tests.clients.table.cells import lacks
from tests.clients.table.client import DIRECT, Client
from tests.support.connection_cutter import cutter
from tests.support.environments import need
from tests.support.peer_processes import ModelPeer, model_peer
from tests.support.service_process import Service, service

REPORT_DEADLINE_S = 150
# Bytes of an answer after which its connection is cut. The text of every client has begun there and has not ended.
CUT_AFTER = 6_000
# A driver reaches no other host, because its proxy does not answer, and its telemetry is off.
CONFINED = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
    "LANGSMITH_TRACING": "false",
    "CREWAI_DISABLE_TELEMETRY": "true",
    "HAYSTACK_TELEMETRY_ENABLED": "False",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OTEL_SDK_DISABLED": "true",
}


@dataclass(frozen=True)
class Report:
    """What one client showed, and how many works its cases started, through the service and directly."""

    version: str
    shows: dict[str, Shown]
    works: Counter[str]
    directly: dict[str, Shown]
    direct_works: Counter[str]
    cuts: tuple[int, int]


@dataclass(frozen=True)
class Table:
    """The servers that the drivers call. Each client's driver runs once, when its first test asks for its report.

    `slow` is a service in which a second counts as minutes. `model` is a simulated model without a service.
    """

    running: Service
    slow: Service
    model: ModelPeer
    _reports: dict[str, Report] = field(default_factory=dict)

    def report(self, client: Client) -> Report:
        """Return the report of a client. One that is not installed is skipped on a laptop and fails in CI."""
        if client.environment:
            need(client.environment)
        if client.identifier not in self._reports:
            self._reports[client.identifier] = self._report(client)
        return self._reports[client.identifier]

    def _report(self, client: Client) -> Report:
        upstreams = (self.running.model, self.slow.model)
        before, before_directly = works_of(*upstreams), works_of(self.model)
        ours, bare = _with_key(self.running), f"http://any@127.0.0.1:{self.model.http.base_url.port}/v1"
        with (
            cutter(self.running.hosts[0].port, CUT_AFTER) as (cut_url, cut),
            cutter(self.model.http.base_url.port or 0, CUT_AFTER) as (cut_directly_url, cut_directly),
        ):
            places = {"long": _with_key(self.slow), "cut": _with_key(self.running, cut_url)}
            places_directly = {"cut": f"{cut_directly_url.replace('//', '//any@')}/v1"}
            asked = [(case, places.get(case, ours)) for case in client.shows]
            asked += [(case, places_directly.get(case, bare)) for case in DIRECT]
            version, shown = _ran(client, asked)
        return Report(
            version,
            dict(zip(client.shows, shown, strict=False)),
            works_of(*upstreams) - before,
            dict(zip(DIRECT, shown[len(client.shows) :], strict=True)),
            works_of(self.model) - before_directly,
            (cut.cuts, cut_directly.cuts),
        )


def _with_key(running: Service, url: str | None = None) -> str:
    """Return the base URL of a service, or of a relay to it, with the key of its first caller."""
    key = running.callers["first"].api_key
    return f"{(url or running.hosts[0].url).replace('//', f'//{key}@')}/openai/v1"


def works_of(*models: ModelPeer) -> Counter[str]:
    """Return how many works the models have started, by the model that was asked for."""
    return sum((Counter(model.stats()["models"]) for model in models), Counter())


def _ran(client: Client, asked: Sequence[tuple[str, str]]) -> tuple[str, list[Shown]]:
    """Run a driver with these cases and their URLs. Return the client's version, and what it showed for each."""
    command = [*client.command, *(f"{case}={url}" for case, url in asked)]
    environment = {**os.environ, **CONFINED}
    ran = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=REPORT_DEADLINE_S, check=False
    )
    assert ran.returncode == 0, ran.stderr
    report: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])  # some clients print their own lines before it
    return report["version"], [Shown(**one) for one in report["shown"]]


@contextmanager
def client_table(directory: Path, connections: tuple[str, str]) -> Iterator[Table]:
    """Run the servers until the end of the block. The services have logged nothing unexpected then."""
    ours, slow, model = (directory / name for name in ("service", "slow", "model"))
    for one in (ours, slow, model):
        one.mkdir()
    with (
        service(ours, connections[0]) as running,
        service(slow, connections[1], FOREGROUND_HOLD_S="1") as held,
        model_peer(model) as peer,
    ):
        yield Table(running, held, peer)
        assert running.unexpected() == held.unexpected() == []


def check_version(table: Table, client: Client) -> None:
    """Check that the installed client has the major version of the page."""
    assert table.report(client).version.partition(".")[0] == client.version.partition(".")[0]


def check_service(table: Table, client: Client, case: str) -> None:
    """Check what a client shows for a call through the service, and how many works that has started."""
    report, expected = table.report(client), client.work_count(case)
    shown = report.shows[case]
    assert client.shows[case].agrees(case, shown), shown
    assert report.works[CASES[case]["model"]] == expected, report.works


def check_directly(table: Table, client: Client, case: str) -> None:
    """Check what a client shows for a call to the model itself, and how many works that has started."""
    report, expected = table.report(client), client.direct_work_count(case)
    shown = report.directly[case]
    assert client.direct_cell(case).agrees(case, shown), shown
    assert report.direct_works[CASES[case]["model"]] == expected, report.direct_works


def check_cuts(table: Table, client: Client) -> None:
    """Check that one connection was cut on each side, if the client has streams."""
    expected = 0 if client.shows["cut"] == lacks() else 1
    assert table.report(client).cuts == (expected, expected)
