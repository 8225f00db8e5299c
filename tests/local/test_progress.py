"""Long work shows that it goes on, and leaves nothing behind on a terminal."""

import os
import pty
import subprocess
import sys
from io import StringIO
from pathlib import Path
from threading import Event

from rich.console import Console

from local.progress import step
from local.stack.process import ROOT

SHORT = "from local.progress import step\nwith step('building [x]'):\n    pass"


class Written(StringIO):
    """A file that reports when something was written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.happened = Event()

    def write(self, text: str) -> int:
        """Write, and report it."""
        size = super().write(text)
        self.happened.set()
        return size


def test_quick_work_writes_nothing_to_a_file() -> None:
    """Its log stays as it is."""
    file = StringIO()
    with step("building", Console(file=file)):
        pass
    assert file.getvalue() == ""


def test_slow_work_writes_one_plain_line_to_a_file() -> None:
    """It has no colour and no control character, and what looks like markup stays."""
    file = Written()
    with step("building [red]", Console(file=file), slow_s=0):
        assert file.happened.wait(10)
    assert file.getvalue() == "building [red] ...\n"


def test_work_before_a_line_for_programs_can_be_silent() -> None:
    """Without a time to be slow after, a file gets nothing."""
    file = StringIO()
    with step("building", Console(file=file), slow_s=None):
        pass
    assert file.getvalue() == ""


def shown_on_a_terminal(**environment: str) -> str:
    """Return what a program with a step writes to a terminal."""
    master, slave = pty.openpty()
    kept = {name: value for name, value in os.environ.items() if name != "CI"}
    command = [sys.executable, "-c", SHORT]
    with os.fdopen(slave, "wb") as terminal:
        subprocess.run(
            command, cwd=ROOT, check=True, stderr=terminal, timeout=60, env={**kept, "TERM": "xterm", **environment}
        )
        os.write(slave, b"|end")
    shown = b""
    while not shown.endswith(b"|end"):
        shown += os.read(master, 65_536)
    os.close(master)
    return shown.decode()


def test_a_terminal_shows_the_work_and_its_time() -> None:
    """The line is erased at the end."""
    shown = shown_on_a_terminal()
    assert "building [x]" in shown
    assert "0:00:00" in shown
    assert shown.rpartition("building [x]")[2].count("\x1b[2K") == 1


def test_ci_gets_no_moving_line() -> None:
    """CI keeps what is written to its terminal, so it is treated as a file."""
    assert shown_on_a_terminal(CI="true") == "|end"


def test_only_local_tools_use_the_library_of_the_progress() -> None:
    """The app and the local host start without it."""
    product = [path for top in ("shared", "functions", "local/host") for path in (ROOT / top).rglob("*.py")]
    assert [path for path in product if "import rich" in path.read_text() or "from rich" in path.read_text()] == []
    assert "rich" not in Path(ROOT / "requirements.in").read_text("utf-8")
