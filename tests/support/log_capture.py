"""What the product has logged."""

from typing import Any

import orjson
import pytest


def log_lines(caplog: pytest.LogCaptureFixture, *levels: int) -> list[dict[str, Any]]:
    """Return what the product has logged, at one of these levels if any are named: each line is one JSON object."""
    records = [one for one in caplog.records if one.name.startswith(("shared", "functions"))]
    return [orjson.loads(one.getMessage()) for one in records if not levels or one.levelno in levels]


def log_events(caplog: pytest.LogCaptureFixture, *levels: int) -> list[str]:
    """Return the names of the events in those lines."""
    return [line["event"] for line in log_lines(caplog, *levels)]
