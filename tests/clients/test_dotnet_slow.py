"""Foreground calls of .NET that are longer than its own time-out: each is whole, and one job.

Its 100 s run once up to the headers and once more up to the end of the body, and no byte renews them.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from local.azurite import Azurite
from tests.clients.dotnet_flows import flows_of, run_flows
from tests.support.service_process import Service, service

DEADLINE_S = 450
FLOWS = ("foreground-130", "foreground-300")


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all flows."""
    flows_of()
    with service(tmp_path_factory.mktemp("slow"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


@pytest.mark.timeout(DEADLINE_S + 60)
def test_calls_of_minutes_are_answered_whole_and_paid_once(running: Service) -> None:
    """One of 130 s is one POST. One of 300 s is two, of which the second joins the work of the first."""
    before = len(running.model.stats()["started"])
    with ThreadPoolExecutor(len(FLOWS)) as pool:
        told = [
            line for lines in pool.map(lambda flow: run_flows(running, (flow,), DEADLINE_S), FLOWS) for line in lines
        ]
    assert [line.split()[:2] for line in told] == [["ok", flow] for flow in FLOWS]
    assert len(running.model.stats()["started"]) - before == len(FLOWS)
