"""While something is installed, a terminal shows for how long, and a file gets one line."""

import os
import re
from collections.abc import Iterator
from io import StringIO
from threading import Event

import pytest

from local.environments.ticking import ticking


class Terminal(StringIO):
    """A terminal that reports when three counts were written to it."""

    def __init__(self) -> None:
        super().__init__()
        self.counted = Event()

    def isatty(self) -> bool:
        """Return that it is one."""
        return True

    def write(self, text: str) -> int:
        """Write, and report the third count."""
        size = super().write(text)
        if self.getvalue().count("\r") == 3:
            self.counted.set()
        return size


@pytest.fixture
def no_ci() -> Iterator[None]:
    """Take the mark of CI out of the environment, where there is one."""
    marked = os.environ.pop("CI", None)
    yield
    if marked is not None:
        os.environ["CI"] = marked


def test_a_file_gets_the_line_once() -> None:
    """It is complete before the work begins."""
    file = StringIO()
    with ticking("setting up .venv", file):
        assert file.getvalue() == "setting up .venv\n"
    assert file.getvalue() == "setting up .venv\n"


@pytest.mark.usefixtures("no_ci")
def test_a_terminal_counts_the_seconds() -> None:
    """The same line is written again and again, and ends with a new line."""
    terminal = Terminal()
    with ticking("setting up .venv", terminal, tick_s=0.001):
        assert terminal.counted.wait(10)
    assert re.fullmatch(r"(\r\x1b\[Ksetting up \.venv, \d+ s){3,}\n", terminal.getvalue())


@pytest.mark.usefixtures("no_ci")
def test_a_failure_ends_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    """What is printed about the failure begins on a line of its own."""
    terminal = Terminal()
    with pytest.raises(RuntimeError), ticking("setting up .venv", terminal):
        raise RuntimeError
    assert terminal.getvalue().endswith(" s\n")
    assert capsys.readouterr().out == ""
