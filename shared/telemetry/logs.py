"""Log lines: one JSON object each, which this process writes to its standard output by itself.

The platform passes a record of Python's `logging` on only while the invocation that it belongs to is running. That ends
when the function returns. So what a stream, a task, a timer or a thread tells would be lost
(Azure/azure-functions-python-worker#1158). Standard output arrives as long as the host lives.

An exception is logged as its types and its places in the code. Its text may contain what a caller has sent.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from threading import RLock
from typing import Any

from shared.telemetry import exceptions, tracing
from shared.telemetry.lines import encode_line

Receiver = Callable[[str], object]
"""Takes a line as text, with its newline."""

_lock = RLock()  # the thread that writes may be interrupted by a finalizer that writes, too


def write_to_stdout(text: str) -> None:
    """Write a line with its newline by one write, and flush it. Two writes could be torn apart by another thread."""
    with _lock:
        sys.stdout.write(text)
        sys.stdout.flush()


_receivers: list[Receiver] = [write_to_stdout]


def add_receiver(receive: Receiver) -> None:
    """Pass every line from now on to this receiver, too. What it raises is dropped."""
    _receivers.append(receive)


@contextmanager
def received_by(receive: Receiver) -> Iterator[None]:
    """Pass every line to this receiver, too, until the end of the block."""
    add_receiver(receive)
    try:
        yield
    finally:
        _receivers.remove(receive)


def write_line(level: str, name: str, event: str, fields: Mapping[str, Any], error: BaseException | None) -> None:
    """Write a line of this level from the logger of this name. `error` is what it tells about, if anything.

    Nothing is raised, whatever the fields are and wherever the output has gone. A worker whose host was killed goes on
    with a broken pipe.
    """
    time = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = {"event": event, "level": level, "time": time, "logger": name, **fields, **tracing.trace_fields()}
    try:
        text = encode_line(line | (exceptions.redacted(error) if error else {}))
    except Exception:  # noqa: BLE001 - the edge: a field may be an object that raises whatever it likes
        text = encode_line({"event": event, "level": level, "time": time, "logger": name, "cut": ["*"]})
    for receive in tuple(_receivers):
        _pass_on(receive, text)


def _pass_on(receive: Receiver, text: str) -> None:
    try:
        receive(text)
    except Exception:  # noqa: BLE001 - the edge: a line that cannot be written stops nothing
        return


class EventLogger:
    """Writes lines. Each method takes the name of an event and its fields as `extra`.

    `exc_info` is an exception, or true for the one that is being handled.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def info(self, event: str, *, extra: Mapping[str, Any] | None = None, exc_info: object = None) -> None:
        """Write a line about what happens in the ordinary course of things."""
        write_line("info", self._name, event, extra or {}, _exception(exc_info))

    def warning(self, event: str, *, extra: Mapping[str, Any] | None = None, exc_info: object = None) -> None:
        """Write a line about trouble that the service gets over."""
        write_line("warning", self._name, event, extra or {}, _exception(exc_info))

    def error(self, event: str, *, extra: Mapping[str, Any] | None = None, exc_info: object = None) -> None:
        """Write a line about what somebody must look at."""
        write_line("error", self._name, event, extra or {}, _exception(exc_info))

    def exception(self, event: str, *, extra: Mapping[str, Any] | None = None) -> None:
        """Write a line of level `error` about the exception that is being handled."""
        self.error(event, extra=extra, exc_info=True)


def _exception(given: object) -> BaseException | None:
    """Return the exception that `exc_info` gives, or the current one if it is only true."""
    if isinstance(given, BaseException):
        return given
    return sys.exception() if given else None


def logger(name: str) -> EventLogger:
    """Return the logger of the module with this name."""
    return EventLogger(name)
