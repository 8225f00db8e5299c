"""Child processes: their address, the end of their log, and how they are stopped."""

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


def test_a_free_port_is_usable_and_below_the_outgoing_range() -> None:
    """A server can listen on a free port. The system uses only higher ports for outgoing connections."""
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        assert 20_000 <= port < 30_000
