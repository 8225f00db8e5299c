"""Child processes: their address, their last words and their end."""

import signal
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from local.stack.ports import free_port
from local.stack.process import PartError, Process, wait_for


def _python(script: str, log: Path, **env: str) -> Process:
    return Process("part", [sys.executable, "-c", script], env=env, log=log / "part.log")


def test_gives_the_address_that_the_process_prints(tmp_path: Path) -> None:
    """The ready line is found among others, and settings reach the process."""
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


def test_a_part_that_ends_is_named_with_its_last_words(tmp_path: Path) -> None:
    """Whoever waits for a part that dies learns its name, its exit code and why, not just that time is up."""
    process = _python("import sys; sys.exit('no such setting')", tmp_path)
    with pytest.raises(PartError, match=r"(?s)part: ended with exit code 1.*no such setting") as failure:
        process.url(10)
    assert failure.value.part == "part"
    process.stop()


def test_a_part_that_says_nothing_misses_the_deadline(tmp_path: Path) -> None:
    """A silent part does not hold everything up."""
    process = _python("import time; print('thinking'); time.sleep(60)", tmp_path)
    with pytest.raises(PartError, match=r"(?s)part: not ready after 0.5 s.*thinking"):
        process.url(0.5)
    process.stop()


def test_a_process_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    """Nothing that was started survives its stop."""
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


def test_waiting_ends_with_what_was_found_or_with_none() -> None:
    """The condition is asked until it holds, and not beyond the deadline."""
    answers = iter([None, "", "found"])
    assert wait_for(lambda: next(answers), 10) == "found"

    began = time.monotonic()
    assert wait_for(lambda: None, 0.1) is None
    assert time.monotonic() - began < 5


def test_a_free_port_can_be_listened_on_and_is_no_outgoing_one() -> None:
    """Its number is below those that the system gives to outgoing connections."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert 20_000 <= port < 30_000
