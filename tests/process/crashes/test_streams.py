"""Hosts are killed while streams flow. Each client continues at another host and reads one consistent stream.

`CHAOS_SEED` in the environment repeats a run's choices and moments, but not the lines at which the kills land.
"""

import os
import random
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from local.azurite import Azurite
from tests.support.chaos_load import Reader, reading
from tests.support.peer_processes import eventually
from tests.support.receiver_peer import CALL_S
from tests.support.service_process import Host, Service, followed, kinds, numbers, output_text, service, text_of

KILLS = 3
SILENCE = "sim-silent-33s"
"""A model that is silent for longer than a lease lasts."""


@dataclass(frozen=True)
class Scenario:
    """The service, and what its readers read while a host was killed several times."""

    running: Service
    readers: list[Reader]
    silent: Reader


@pytest.fixture(scope="module")
def seed() -> int:
    """Return the seed of this run. It is shown when a test fails."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
    print(f"CHAOS_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return seed


@pytest.fixture(scope="module")
def scenario(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Scenario]:
    """Let 20 clients read while one of two hosts is killed at random moments.

    One more client reads from the other host.
    """
    with service(tmp_path_factory.mktemp("crashes"), azurite.account(), hosts=2, time_factor=1) as running:
        dying, living = running.client(), running.client(host=1)
        readers = [Reader([dying, living], "sim-8s", f"key-{n}") for n in range(20)]
        silent = Reader([living], SILENCE, "silent")
        with reading([*readers, silent]):
            kill_again_and_again(running.hosts[0], random.Random(seed))
        yield Scenario(running, readers, silent)
        assert running.unexpected() == []


def kill_again_and_again(host: Host, rng: random.Random) -> None:
    """Kill the host three times at random moments of a stream, and restart it at the same address."""
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.2, 2.0))  # the moment is the test's input
        host.kill()
        host.start()


def test_every_client_reads_every_event_once(scenario: Scenario) -> None:
    """A client's events have no gap up to the end. A new reader at the other host gets the same events."""
    for reader in scenario.readers:
        assert numbers(reader.events) == list(range(len(reader.events)))
        assert followed(reader.clients[-1], reader.events[0]["response"]["id"]) == reader.events


def test_every_text_is_the_result(scenario: Scenario) -> None:
    """The text that a client puts together is the stored output."""
    for reader in scenario.readers:
        stored = reader.clients[-1].get(f"/responses/{reader.events[0]['response']['id']}").json()
        assert kinds(reader.events)[-1] == stored["status"] == "completed"
        assert text_of(reader.events) == output_text(stored)


def test_the_kills_interrupted_some_clients(scenario: Scenario) -> None:
    """At least five clients needed more than one connection, so the kills did hit streams."""
    assert sum(reader.connections > 1 for reader in scenario.readers) >= 5


def test_no_work_was_started_twice(scenario: Scenario) -> None:
    """Neither a new holder nor a client that repeats its idempotency key starts the work again."""
    stats = scenario.running.model.stats()
    assert stats["started_twice"] == 0
    assert len(stats["started"]) == len(scenario.readers) + 1


def test_a_silence_longer_than_the_lease_does_not_lose_the_run(scenario: Scenario) -> None:
    """The holder renews its lease while the model is silent.

    The client needs one connection, and the work is not restarted.
    """
    assert scenario.silent.connections == 1
    assert numbers(scenario.silent.events) == list(range(len(scenario.silent.events)))
    assert kinds(scenario.silent.events).count("in_progress") == 1
    assert kinds(scenario.silent.events)[-1] == "completed"


def test_a_replay_that_is_refused_after_a_crash_is_replaced_by_polls(scenario: Scenario) -> None:
    """The upstream no longer replays its stream when another host claims the run.

    That host polls for the result and does not start the work again.
    """
    running = scenario.running
    reader = Reader([running.client(), running.client(host=1)], "sim-5s", "late")
    with reading([reader]):
        eventually(lambda: len(reader.events) >= 10, CALL_S)
        running.model.faults(replay_window_s=0)
        running.hosts[0].kill()
    stored = running.client(host=1).get(f"/responses/{reader.events[0]['response']['id']}").json()
    assert stored["status"] == "completed"
    assert text_of(reader.events) == output_text(stored)
    assert numbers(reader.events) == sorted(set(numbers(reader.events)))
    assert kinds(reader.events).count("in_progress") == 2
    assert running.model.stats()["started_twice"] == 0
