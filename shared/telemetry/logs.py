"""Log lines: each is one JSON object, and all of it is in the message.

The platform's Python worker passes the text of a record on and drops its other fields
(Azure/azure-functions-python-worker#1681). So everything that somebody may search for is in the text.

An exception is logged as its type and the places in the code. Its text may contain what a caller has sent.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson

from shared.telemetry import exceptions, tracing


class EventLogger(logging.LoggerAdapter[logging.Logger]):
    """Takes an event's name as the message and its fields as `extra`, and adds the current trace."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Return the line as JSON text. A value that JSON cannot express is written as its `str`."""
        error = _exception(kwargs.pop("exc_info", None))
        fields = kwargs.get("extra") or {}
        line = {"event": msg, **fields, **(exceptions.redacted(error) if error else {}), **tracing.trace_fields()}
        return orjson.dumps(line, default=str).decode(), kwargs


def _exception(given: Any) -> BaseException | None:
    """Return the exception that `exc_info` gives; the current one if it is only true."""
    if isinstance(given, BaseException):
        return given
    return sys.exception() if given else None


def logger(name: str) -> EventLogger:
    """Return the logger of a module."""
    return EventLogger(logging.getLogger(name), {})
