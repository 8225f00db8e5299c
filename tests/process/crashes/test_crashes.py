"""Hosts are killed at random moments under load. Every accepted response ends once and calls back.

`CHAOS_SEED` in the environment repeats a run's choices and moments, but not the lines at which the kills land.
"""

import random
import time
from pathlib import Path

from tests.support.chaos_load import Load
from tests.support.service_process import Host, service
from tests.support.stage import Say


def _kill_again_and_again(host: Host, times: int, rng: random.Random) -> None:
    for _ in range(times):
        time.sleep(rng.uniform(0.2, 3.0))  # the moment is the test's input
        host.kill()
        host.start()


def _outcome(load: Load) -> str:
    """Wait until everything has ended, check it, and return a summary in figures."""
    settled_s, repeated = load.settle(), load.check()
    return f"answers {dict(load.answers)}, all called back after {settled_s:.0f} s, callbacks repeated {repeated}"


def test_kills_lose_nothing_and_repeat_nothing(connection_string: str, tmp_path: Path, seed: int, say: Say) -> None:
    """Under kill -9 at random moments every accepted response reaches one terminal status and calls back."""
    with service(tmp_path, connection_string, time_factor=1) as running:
        load = Load(running, seed, count=80)
        with load.sending():
            _kill_again_and_again(running.hosts[0], 4, random.Random(seed))
        say(_outcome(load))


def test_kills_inside_the_create_call_start_nothing_twice(
    connection_string: str, tmp_path: Path, seed: int, say: Say
) -> None:
    """Work is started once per key, whether the service or the caller repeats the create.

    Each create call takes 300 ms, so that kills land inside it.
    """
    with service(tmp_path, connection_string, time_factor=1) as running:
        running.model.faults(create_latency_s=0.3)
        load = Load(running, seed, count=80, keyed=True, pause_s=1.5)
        with load.sending():
            _kill_again_and_again(running.hosts[0], 4, random.Random(seed))
        client = running.client()
        for n, response_id in load.accepted.items():
            assert load.post(n, client).json()["id"] == response_id
        say(_outcome(load))
        assert set(running.model.stats()["started"]) == set(load.accepted.values())


def test_one_of_two_hosts_is_killed(connection_string: str, tmp_path: Path, seed: int, say: Say) -> None:
    """Two hosts do no work twice, and one continues the work of the other after a kill."""
    with service(tmp_path, connection_string, hosts=2, time_factor=1) as running:
        load = Load(running, seed, count=80)
        with load.sending():
            time.sleep(random.Random(seed).uniform(2, 8))  # the moment is the test's input
            running.hosts[1].kill()
        say(_outcome(load))
