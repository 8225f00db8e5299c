"""Reads the log lines of the product."""

from typing import Any

import orjson
import pytest


def log_lines(caplog: pytest.LogCaptureFixture, *levels: int) -> list[dict[str, Any]]:
    """Return the product's log lines as JSON objects, of these levels if any are given."""
    records = [one for one in caplog.records if one.name.startswith(("shared", "functions"))]
    return [orjson.loads(one.getMessage()) for one in records if not levels or one.levelno in levels]


def log_events(caplog: pytest.LogCaptureFixture, *levels: int) -> list[str]:
    """Return the event names of those lines."""
    return [line["event"] for line in log_lines(caplog, *levels)]
