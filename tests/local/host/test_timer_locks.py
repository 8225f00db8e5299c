"""The locks of timers: over all hosts of a storage account, one runs a timer. Durations are tenths, unless said."""

import time
from pathlib import Path

from local.azurite import Azurite
from local.azurite import azurite as run_azurite
from tests.support.host_process import RunningHost, refusal, running, write_app

APP = """
    import asyncio
    import azure.functions as func
    app = func.FunctionApp()

    @app.timer_trigger(arg_name="timer", schedule="* * * * * *", run_on_startup=True)
    async def ticking(timer: func.TimerRequest) -> None:
        print("tick", flush=True)

    @app.timer_trigger(arg_name="timer", schedule="0 0 0 29 2 *", run_on_startup=True)
    async def starting(timer: func.TimerRequest) -> None:
        print("startup", flush=True)
"""


def ticks(host: RunningHost) -> int:
    """Return how often the host has run the timer."""
    return host.written.count("tick\n")


def test_one_host_runs_a_timer(connection_string: str, tmp_path: Path) -> None:
    """A second host runs no tick, and not even its `run_on_startup`, while the first one has the lock."""
    app = write_app(tmp_path, APP)
    with (
        running(app, 0.1, "first.log", AzureWebJobsStorage=connection_string) as first,
    ):
        first.await_text("startup\n")
        with running(app, 0.1, "second.log", AzureWebJobsStorage=connection_string) as second:
            first.await_text("tick\n", times=ticks(first) + 20)  # for longer than a lock lives that is not renewed
            assert (ticks(second), second.written.count("startup")) == (0, 0)


def test_hosts_of_other_accounts_have_their_own_locks(azurite: Azurite, tmp_path: Path) -> None:
    """Two storage accounts have nothing in common."""
    app = write_app(tmp_path, APP)
    with (
        running(app, 0.1, "first.log", AzureWebJobsStorage=azurite.account()) as first,
        running(app, 0.1, "second.log", AzureWebJobsStorage=azurite.account()) as second,
    ):
        first.await_text("startup\n")
        second.await_text("startup\n")


def test_a_stopped_host_releases_its_locks(connection_string: str, tmp_path: Path) -> None:
    """After SIGTERM, the other host gets the lock when it asks next, after at most 6 s. It then runs the startup."""
    app = write_app(tmp_path, APP)
    with running(app, 0.1, "first.log", AzureWebJobsStorage=connection_string) as first:
        first.await_text("startup\n")
        with running(app, 0.1, "second.log", AzureWebJobsStorage=connection_string) as second:
            first.process.terminate()
            first.process.wait()
            ended = time.monotonic()
            second.await_text("startup\n")
            second.await_text("tick\n", times=3)
            assert time.monotonic() - ended < 6 + 5


def test_the_locks_of_a_killed_host_are_free_after_30_to_120_s(connection_string: str, tmp_path: Path) -> None:
    """At the platform's own durations: kill -9 of the holder lets its lock live for the rest of the 60 s.

    Another host asks for it every 60 s. So does the killed host when it is started again.
    """
    app = write_app(tmp_path, APP)
    with running(app, log="first.log", AzureWebJobsStorage=connection_string) as first:
        first.await_text("startup\n")
        with running(app, log="second.log", AzureWebJobsStorage=connection_string) as second:
            first.process.kill()
            killed = time.monotonic()
            with running(app, log="again.log", AzureWebJobsStorage=connection_string) as again:
                while not (ticks(second) or ticks(again)):
                    assert time.monotonic() - killed < 125
                    time.sleep(0.1)
                assert time.monotonic() - killed > 28


def test_a_lock_that_is_lost_is_asked_for_again(tmp_path: Path) -> None:
    """An outage of storage stops no timer at once. A host whose lock another host has got stops, and asks again."""
    app = write_app(tmp_path, APP)
    with run_azurite() as storage:
        account = storage.account()
        with running(app, 0.1, "first.log", AzureWebJobsStorage=account) as first:
            first.await_text("startup\n")
            storage.stop()
            first.await_text("timer.lock_unavailable action=renew", times=2)
            first.await_text("tick\n", times=ticks(first) + 2)
            storage.start()
            first.await_text("tick\n", times=ticks(first) + 5)
            assert first.process.poll() is None


def test_a_timer_needs_an_account(tmp_path: Path) -> None:
    """An app with a timer is refused without a storage account that can have its lock."""
    assert "refused: a timer's lock needs the account's name and key" in refusal(write_app(tmp_path, APP))
