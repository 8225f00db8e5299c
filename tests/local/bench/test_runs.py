"""Small runs on the real stack: each measures what it says."""

import asyncio

import pytest

from local.bench.builds.base import base, head
from local.bench.builds.build import Build
from local.bench.faults.kill import kill_run
from local.bench.loads.driver import Driver
from local.bench.loads.one_host import one_host_run
from local.bench.loads.runs import bounded, counted_run, jittered
from local.bench.loads.sizes import Sizes
from local.bench.meters.figures import Submission
from local.bench.streams.foreground import foreground_run
from local.stack.process import ROOT, PartError

TINY = Sizes(counted=2, killed=6, kill_after_s=0.1, watched_s=1, ends=4, ends_after_s=4, calls=2)


def test_a_response_causes_requests_messages_and_invocations() -> None:
    """The create call is an invocation. All storage requests are at least those of the response itself."""
    found = counted_run(Build(), TINY)
    assert (found["invocations"] or 0) >= 1 + (found["messages"] or 0)
    assert (found["all"] or 0) >= (found["own"] or 0) > 2


def test_a_kill_loses_nothing_that_was_accepted() -> None:
    """Calls that are refused while the host is down are counted, and each of the others is called back."""
    found = kill_run(Build(), TINY)
    assert (found["lost"], found["started_twice"]) == (0, 0)
    assert 0 <= (found["refused"] or 0) <= TINY.killed


def test_callbacks_of_one_host_come_after_the_common_end() -> None:
    """The receiver takes 0.2 s for each, and the last callback is not before the middle one."""
    found = one_host_run(Build(), TINY)
    assert (found["accepted"], found["lost"]) == (4, 0)
    assert 0 < (found["p50_s"] or 0) <= (found["last_s"] or 0)


def test_foreground_calls_are_measured_in_both_modes() -> None:
    """A model of 1 s takes at least 1 s, and no event comes before it was due."""
    found = foreground_run(Build(), TINY)
    assert all((found[f"{mode}_second_ms"] or 0) > 1000 for mode in ("background", "foreground"))
    assert all((found[f"{mode}_late_ms"] or -1) > 0 for mode in ("background", "foreground"))


def test_the_jittered_load_is_the_same_for_everyone() -> None:
    """Two sequences begin alike. Their models take 1.6 to 2.4 s, and not always the same time."""
    one, other = jittered(), jittered()
    names = [next(one) for _ in range(50)]
    assert names == [next(other) for _ in range(50)]
    taken_s = [float(name.removeprefix("sim-").removesuffix("s")) for name in names]
    assert 1.6 <= min(taken_s) < 1.8
    assert 2.2 < max(taken_s) <= 2.4


def test_callbacks_are_awaited_by_id() -> None:
    """A callback of a call whose answer was lost does not stand in for one that was accepted."""

    async def waited_s() -> float:
        with Build().open() as target:
            async with Driver(target) as driver:
                await driver.submit("sim-instant")
                driver.submissions.append(Submission(0, 0, "resp_" + "0" * 32))
                began_s = asyncio.get_running_loop().time()
                await driver.await_callbacks(deadline_s=3)
                assert len(await driver.callbacks()) == 1
                return asyncio.get_running_loop().time() - began_s

    assert asyncio.run(waited_s()) >= 3


def test_a_run_that_does_not_end_fails() -> None:
    """The error names the deadline."""
    with pytest.raises(PartError, match=r"not ended within 0\.01 s"):
        bounded(asyncio.sleep(30), 0.01)


def test_another_commit_is_checked_out_beside_this_one() -> None:
    """The folder has its app, and is gone at the end. The same requirements need no environment of their own."""
    with base("HEAD") as other:
        assert (other.served.directory / "function_app.py").is_file()
        assert other.served.directory != ROOT
        assert other.name == head().removesuffix("+")
    assert not other.served.directory.exists()


def test_a_commit_that_does_not_exist_is_refused() -> None:
    """The error is git's."""
    with pytest.raises(PartError, match="git"), base("no-such-commit"):
        pass
