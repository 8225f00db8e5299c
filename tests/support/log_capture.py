"""Reads the log lines of the product while a test runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson

from shared.telemetry import logs

OWN = ("shared", "functions")
EVERY_LINE_HAS = ("level", "time", "logger")


class WrittenLines:
    """The lines that were written since the test began, or since they were last cleared."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    @property
    def text(self) -> str:
        """Everything that was written, as it goes to standard output."""
        return "".join(self.texts)

    def clear(self) -> None:
        """Forget what was written before."""
        self.texts.clear()

    def whole(self) -> list[dict[str, Any]]:
        """Return every line with all its fields, also lines about libraries."""
        return [orjson.loads(text) for text in list(self.texts)]


@contextmanager
def recorded_lines() -> Iterator[WrittenLines]:
    """Record all lines until the end of the block."""
    written = WrittenLines()
    with logs.received_by(written.texts.append):
        yield written


def log_lines(written: WrittenLines, *levels: str) -> list[dict[str, Any]]:
    """Return the product's own lines, of these levels if any are given, without the fields that every line has."""
    own = [line for line in written.whole() if line["logger"].startswith(OWN)]
    return [
        {name: value for name, value in line.items() if name not in EVERY_LINE_HAS}
        for line in own
        if not levels or line["level"] in levels
    ]


def log_events(written: WrittenLines, *levels: str) -> list[str]:
    """Return the event names of those lines."""
    return [line["event"] for line in log_lines(written, *levels)]
