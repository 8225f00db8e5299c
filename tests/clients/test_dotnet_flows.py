"""Agent Framework for .NET works by base URL alone: each flow of the program in `dotnet/` is one that a user writes.

The program runs where DOTNET_FLOWS names it. `dotnet publish tests/clients/dotnet` makes it.
"""

from collections.abc import Iterator

import pytest

from local.azurite import Azurite
from tests.clients.dotnet_flows import flows_of, run_flows
from tests.support.service_process import Service, service

DEADLINE_S = 400


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all flows."""
    flows_of()
    with service(tmp_path_factory.mktemp("flows"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


@pytest.mark.timeout(DEADLINE_S + 60)
def test_every_usual_flow_works(running: Service) -> None:
    """Start, poll, stream and resume, tokens across processes, sessions, tools, failures, cancellations, 18 at once."""
    told = run_flows(running, (), DEADLINE_S)
    assert [line for line in told if not line.startswith("ok ")] == []
    assert len(told) >= 39
