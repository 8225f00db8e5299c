"""The limit of an upstream, seen from the upstream: three hosts, two callers, and kills in between."""

import time
from collections.abc import Iterator

import pytest

from local.azurite import Azurite
from tests.support.service_process import Service, create, finished, service

LIMIT = 4
CREATED = 36
ENDED_S = 150.0


@pytest.fixture
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run three hosts whose upstream works on four responses at once."""
    directory = tmp_path_factory.mktemp("limits")
    settings = {"UPSTREAM_MAX_IN_FLIGHT": str(LIMIT), "STREAM_HEARTBEAT_S": "5"}
    with service(
        directory, azurite.account(), hosts=3, callers=("first", "second"), time_factor=1, webhooks=False, **settings
    ) as running:
        yield running
        assert running.unexpected() == []


def test_no_more_than_the_limit_are_at_work_whatever_is_killed(running: Service) -> None:
    """Each response is started once and ends. What waits says so, and both callers go on."""
    callers = [running.client(name, host=host) for host in range(3) for name in ("first", "second")]
    made = [(callers[number % 6], create(callers[number % 6])) for number in range(CREATED)]
    waiting = [one["waiting"] for _, one in made if one.get("waiting")]
    assert waiting
    assert {one["reason"] for one in waiting} == {"turn"}
    for host in (2, 1):
        time.sleep(1.5)
        running.hosts[host].kill()
        running.hosts[host].start()
    ended = [finished(client, one, ENDED_S) for client, one in made]
    assert {one["status"] for one in ended} == {"completed"}
    stats = running.model.stats()
    assert (len(stats["started"]), stats["started_twice"]) == (CREATED, 0)
    assert stats["most_at_once"] <= LIMIT
