"""Log lines: the message of each is one JSON object with all fields.

The platform's Python worker passes on the text of a log record and drops its other fields
(Azure/azure-functions-python-worker#1681). So every field that a search needs is in the text.

An exception is logged as its types and its places in the code. Its text may contain what a caller has sent.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import Any

import orjson

from shared.telemetry import exceptions, tracing


class EventLogger(logging.LoggerAdapter[logging.Logger]):
    """Takes the name of an event as the message and its fields as `extra`, and adds the id of the current trace."""

    def process(self, msg: Any, kwargs: MutableMapping[str, Any]) -> tuple[str, MutableMapping[str, Any]]:
        """Return the line as JSON text, and `kwargs`. A value that JSON cannot express is written as its `str`."""
        error = _exception(kwargs.pop("exc_info", None))
        fields = kwargs.get("extra") or {}
        line = {"event": msg, **fields, **(exceptions.redacted(error) if error else {}), **tracing.trace_fields()}
        return orjson.dumps(line, default=str).decode(), kwargs


def _exception(given: Any) -> BaseException | None:
    """Return the exception that `exc_info` gives, or the current one if it is only true."""
    if isinstance(given, BaseException):
        return given
    return sys.exception() if given else None


def logger(name: str) -> EventLogger:
    """Return the logger of the module with this name."""
    return EventLogger(logging.getLogger(name), {})
