"""The local stack uses nothing that Python for Windows lacks. It was not run on Windows itself.

A Python that lacks the same things stands in for it: tests/support/like_windows.
"""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from local.environments.python_packages import interpreter
from local.stack.ports import free_port
from local.stack.process import ROOT
from local.start.lines import assignment

LIKE_WINDOWS = ROOT / "tests" / "support" / "like_windows"
DEADLINE_S = 150


def environment(**settings: str) -> dict[str, str]:
    """Return the variables of a Python that lacks what Windows lacks, and these settings."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UPSTREAM_")}
    return {**inherited, "PYTHONPATH": str(LIKE_WINDOWS), **settings}


def run(*arguments: str, **settings: str) -> tuple[int, str]:
    """Run such a Python. Return its exit code, and its two outputs as one."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env=environment(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    "program",
    [
        "import fcntl",
        "import os; os.getuid()",
        "import signal; signal.SIGKILL",
        "import asyncio; asyncio.new_event_loop().add_signal_handler(15, print)",
        "import subprocess, sys; subprocess.Popen([sys.executable, '-c', '']).send_signal(2)",
    ],
)
def test_what_windows_lacks_is_not_there(program: str) -> None:
    """A program that uses it fails, so that the tests below can."""
    assert run("-c", program)[0] == 1


def test_a_key_can_be_made() -> None:
    """An operator does that before a deployment."""
    code, output = run("-m", "local", "new-key", "ann")
    assert (code, output.count("\n")) == (0, 3), output


def test_environments_can_be_installed() -> None:
    """Those that are there are found."""
    assert run("-m", "local.environments", "app") == (0, "")


def test_the_demo_ends_well() -> None:
    """The host streams, is cut off twice, is killed and started again, and everything is stopped in the end."""
    code, output = run("-m", "local", "demo", "--stream", MODEL="sim-6s")
    assert code == 0, output
    assert re.search(r"killed process \d+", output)
    assert "everything is stopped" in output


def test_the_stack_serves_until_ctrl_c() -> None:
    """Then it ends without an error."""
    command = [sys.executable, "-m", "local", "start"]
    settings = environment(PORT=str(free_port()))
    with subprocess.Popen(command, cwd=ROOT, env=settings, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        ready = process.stdout.readline()
        base_url = ready.split()[1]
        assert httpx.get(f"{base_url}/health/ready", trust_env=False).is_success
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0


def test_a_file_is_locked_for_one_process(tmp_path: Path) -> None:
    """Another one is told at once, or waits until the first closes the file."""
    program = f"""
import threading, time
from local.locks import lock, lock_now
first, second = (open({str(tmp_path / "lock")!r}, "w") for _ in "ab")
lock_now(first)
try:
    lock_now(second)
    raise SystemExit("locked twice")
except BlockingIOError:
    pass
threading.Timer(0.5, first.close).start()
began = time.monotonic()
lock(second)
print(time.monotonic() - began >= 0.4)
"""
    assert run("-c", program) == (0, "True\n")


def test_the_variables_are_those_of_its_shell() -> None:
    """PowerShell does not know `export`."""
    assert assignment("KEY", "a'b", "nt") == "$env:KEY = 'a''b'"
    assert assignment("KEY", "a'b", "posix") == "export KEY='a'\"'\"'b'"
    assert interpreter(Path("here")).as_posix() == "here/bin/python"
