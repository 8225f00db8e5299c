"""Child processes: their address, the end of their log, and how they are stopped."""

import signal
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.stack.process import PartError, Process, wait_for


def _python(script: str, log: Path, **env: str) -> Process:
    return Process("part", [sys.executable, "-c", script], env=env, log=log / "part.log")


def test_gives_the_address_that_the_process_prints(tmp_path: Path) -> None:
    """The ready line is found among other lines, and settings reach the process."""
    process = _python(
        "import os, time; print('hello'); print('part listening on', os.environ['URL']); time.sleep(60)",
        tmp_path,
        URL="http://127.0.0.1:1/v1",
    )
    try:
        assert process.url(10) == "http://127.0.0.1:1/v1"
        process.check()
    finally:
        process.stop()


def test_a_part_that_ends_is_reported_with_its_last_output(tmp_path: Path) -> None:
    """Waiting for a part that ends raises an error with its name, exit code and last output, not a timeout."""
    process = _python("import sys; sys.exit('no such setting')", tmp_path)
    with pytest.raises(PartError, match=r"(?s)part: ended with exit code 1.*no such setting") as failure:
        process.url(10)
    assert failure.value.part == "part"
    process.stop()


def test_a_part_that_announces_no_address_misses_the_deadline(tmp_path: Path) -> None:
    """Waiting for a part that never announces its address raises an error at the deadline."""
    process = _python("import time; print('thinking'); time.sleep(60)", tmp_path)
    with pytest.raises(PartError, match=r"(?s)part: not ready after 0.5 s.*thinking"):
        process.url(0.5)
    process.stop()


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """A process that ignores SIGTERM is killed after the grace period."""
    process = _python(
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "print('listening on http://127.0.0.1:1'); time.sleep(60)",
        tmp_path,
    )
    process.url(10)
    process.stop(grace_s=0.1)
    assert not psutil.pid_exists(process.pid)
    with pytest.raises(PartError, match=f"exit code -{signal.SIGKILL.value}"):
        process.check()


def test_waiting_returns_the_first_true_value_or_none() -> None:
    """The condition is checked until it holds or the deadline passes."""
    answers = iter([None, "", "found"])
    assert wait_for(lambda: next(answers), 10) == "found"

    began = time.monotonic()
    assert wait_for(lambda: None, 0.1) is None
    assert time.monotonic() - began < 5


GIVES_UP = """
import os, pathlib, sys, time
lives = pathlib.Path(sys.argv[1])
lives.write_text(lives.read_text() + "x")
print("life", len(lives.read_text()), flush=True)
if len(lives.read_text()) < 3:
    os._exit(70)
time.sleep(60)
"""


def test_a_host_that_gives_up_is_started_again(tmp_path: Path) -> None:
    """A process that ends with 70 is started again, with the same log. In between it does not count as ended."""
    lives = tmp_path / "lives"
    lives.write_text("")
    process = Process("part", [sys.executable, "-c", GIVES_UP, str(lives)], env={}, log=tmp_path / "part.log")
    process.restart_when_it_gives_up()
    try:

        def is_in_its_third_life() -> bool:
            process.check()
            return "life 3" in process.log()

        assert wait_for(is_in_its_third_life, 30), process.log()
        assert process.log().splitlines() == ["life 1", "life 2", "life 3"]
    finally:
        process.stop()
    assert not psutil.pid_exists(process.pid)


@pytest.mark.parametrize("script", ["import sys; sys.exit(1)", "import os; os.kill(os.getpid(), 9)"])
def test_a_process_that_ends_otherwise_stays_ended(tmp_path: Path, script: str) -> None:
    """A process that was killed, or that refuses to start, is not started again, and is reported."""
    process = _python(script, tmp_path)
    process.restart_when_it_gives_up()

    def is_reported() -> bool:
        try:
            process.check()
        except PartError:
            return True
        return False

    assert wait_for(is_reported, 30)
    pid = process.pid
    assert not wait_for(lambda: process.pid != pid, 1)
    process.stop()


def test_a_stop_ends_a_process_that_gives_up_again_and_again(tmp_path: Path) -> None:
    """No process is started after the stop."""
    process = _python("import os; os._exit(70)", tmp_path)
    process.restart_when_it_gives_up()
    first = process.pid
    assert wait_for(lambda: process.pid != first, 30)
    process.stop()
    pid = process.pid
    assert not wait_for(lambda: process.pid != pid or psutil.pid_exists(pid), 2)
