"""Log lines: each is one JSON object, whole in the message itself.

The platform's Python worker passes on the text of a record and drops what stands beside it
(Azure/azure-functions-python-worker#1681), so a line that is to be searched by its fields has them in its text.

An exception is told by its type and the places in the code: its text may hold what somebody has sent us.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson

from shared.telemetry import exceptions, tracing


class EventLogger(logging.LoggerAdapter[logging.Logger]):
    """Takes an event's name as the message and its fields as `extra`, and adds the trace it belongs to."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Return the line; a value that JSON has no form for is told by its text."""
        line = {"event": msg, **(kwargs.get("extra") or {}), **_failed(kwargs.pop("exc_info", None)), **tracing.named()}
        return orjson.dumps(line, default=str).decode(), kwargs


def _failed(given: Any) -> dict[str, Any]:
    """Return what is told of an exception: the one that is given, or where it is only asked for, the current one."""
    error = given if isinstance(given, BaseException) else sys.exception() if given else None
    return exceptions.logged(error) if error else {}


def logger(name: str) -> EventLogger:
    """Return the logger of a module."""
    return EventLogger(logging.getLogger(name), {})
