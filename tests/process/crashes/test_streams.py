"""Hosts that die while streams flow: each client goes on elsewhere, and is neither contradicted nor told a thing twice.

CHAOS_SEED in the environment repeats a run's choices; the moments are then the same, the lines they hit are not.
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
from tests.support.service_process import CALL_S, Host, Service, followed, kinds, numbers, output_text, service, text_of

KILLS = 3
SILENCE = "sim-silent-33s"
"""A model that thinks for longer than a lease lasts."""


@dataclass(frozen=True)
class Scene:
    """What was read while a host was killed again and again."""

    running: Service
    readers: list[Reader]
    silent: Reader


@pytest.fixture(scope="module")
def seed() -> int:
    """Give the seed of this run; it is shown when a test fails."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
    print(f"CHAOS_SEED={seed}")  # noqa: T201 - pytest shows it with a failure
    return seed


@pytest.fixture(scope="module")
def scene(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory, seed: int) -> Iterator[Scene]:
    """Let 20 clients read while one of two hosts dies at random moments; one more listens at the other host."""
    with service(tmp_path_factory.mktemp("crashes"), azurite.account(), hosts=2) as running:
        dying, living = running.client(), running.client(host=1)
        readers = [Reader([dying, living], "sim-8s", f"key-{n}") for n in range(20)]
        silent = Reader([living], SILENCE, "silent")
        with reading([*readers, silent]):
            kill_again_and_again(running.hosts[0], random.Random(seed))
        yield Scene(running, readers, silent)
        assert running.unexpected() == []


def kill_again_and_again(host: Host, rng: random.Random) -> None:
    """Kill it at random moments of a stream's life; it comes back at the same address each time."""
    for _ in range(KILLS):
        time.sleep(rng.uniform(0.2, 2.0))  # the moment is the test's input
        host.kill()
        host.start()


def test_every_client_reads_every_event_once(scene: Scene) -> None:
    """Without a gap, up to the end; the last host that lives tells any other reader the very same events."""
    for reader in scene.readers:
        assert numbers(reader.events) == list(range(len(reader.events)))
        assert followed(reader.clients[-1], reader.events[0]["response"]["id"]) == reader.events


def test_every_text_is_the_result(scene: Scene) -> None:
    """What a client has put together is what is stored."""
    for reader in scene.readers:
        stored = reader.clients[-1].get(f"/responses/{reader.events[0]['response']['id']}").json()
        assert kinds(reader.events)[-1] == stored["status"] == "completed"
        assert text_of(reader.events) == output_text(stored)


def test_a_death_is_noticed_by_clients_at_all(scene: Scene) -> None:
    """The kills did hit streams: some clients needed more than one connection."""
    assert sum(reader.connections > 1 for reader in scene.readers) >= 5


def test_no_work_was_begun_twice(scene: Scene) -> None:
    """Neither by a host that took over, nor for a client who asked again with his key."""
    stats = scene.running.model.stats()
    assert stats["started_twice"] == 0
    assert len(stats["started"]) == len(scene.readers) + 1


def test_silence_longer_than_the_lease_is_no_death(scene: Scene) -> None:
    """The holder renews its lease while the model thinks: one connection, no restart."""
    assert scene.silent.connections == 1
    assert numbers(scene.silent.events) == list(range(len(scene.silent.events)))
    assert kinds(scene.silent.events).count("in_progress") == 1
    assert kinds(scene.silent.events)[-1] == "completed"


def test_a_replay_that_is_refused_after_a_death_is_polled_for(scene: Scene) -> None:
    """By the time another host takes over, the upstream replays no more; it is asked for the result, not to begin."""
    running = scene.running
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
