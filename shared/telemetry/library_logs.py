"""What libraries warn of, and exceptions that nobody catches, as lines of the event `library`.

Python's `logging` is for libraries only. A message of theirs may hold a prompt, a key or a URL. So a line has the name
of the logger, the place in the code, and the message only if it is a literal of that code. An exception has its types
and places.
"""

import asyncio
import logging
import sys
import threading
from collections.abc import Callable
from functools import cache
from types import CodeType, TracebackType
from typing import Any

from shared.telemetry.logs import write_line

EVENT = "library"
# At INFO they log every call with its URL, and the platform passes such a record on.
_CHATTY = ("azure", "httpx", "httpcore", "openai", "agent_framework")
# What asyncio says when nobody awaits a result. Its other messages contain values.
_UNHEARD = {
    "Task exception was never retrieved",
    "Future exception was never retrieved",
    "Task was destroyed but it is pending!",
}
# uvicorn says this of every stream that is broken on purpose, so that a client does not take its end for the whole.
_BROKEN_STREAM = "ASGI callable returned without completing response."

LoopHandler = Callable[[asyncio.AbstractEventLoop, dict[str, Any]], object]


@cache
def install() -> None:
    """Write what libraries warn of, and what no thread catches, as lines of this process from now on.

    Only the first call has an effect, because the platform may load the app again. A hook that somebody else has set is
    still called. The interpreter's own is not, because it prints the exception's text.
    """
    logging.getLogger().addHandler(_LineHandler(logging.WARNING))
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # uvicorn's set-up replaces its handlers and levels, but not the filters. Its access lines carry queries.
    logging.getLogger("uvicorn.access").addFilter(lambda _: False)
    logging.getLogger("uvicorn.error").addFilter(_take_over)
    _set_hooks()


def watch_loop(loop: asyncio.AbstractEventLoop) -> None:
    """Write the exceptions that nobody catches in tasks and callbacks of this loop as lines. Once is enough."""
    handler = loop.get_exception_handler()
    if not isinstance(handler, _LoopWatch):
        loop.set_exception_handler(_LoopWatch(handler))


class _LineHandler(logging.Handler):
    """Writes a record of a library as a line."""

    def emit(self, record: logging.LogRecord) -> None:
        fields: dict[str, Any] = {"at": f"{record.filename}:{record.lineno} {record.funcName}"}
        if _is_literal(record):
            fields["message"] = record.msg
        error = record.exc_info[1] if record.exc_info else None
        level = "error" if record.levelno >= logging.ERROR else "warning"
        write_line(level, record.name, EVENT, fields, error)


def _is_literal(record: logging.LogRecord) -> bool:
    """Return whether the message, without its arguments, stands in the code that logs it, so that it holds no value."""
    frame = sys._getframe(1)  # noqa: SLF001 - the only way to the code of a caller
    while frame.f_back and not _logs(frame.f_code, record):
        frame = frame.f_back
    return isinstance(record.msg, str) and _logs(frame.f_code, record) and record.msg in frame.f_code.co_consts


def _logs(code: CodeType, record: logging.LogRecord) -> bool:
    return (code.co_filename, code.co_name) == (record.pathname, record.funcName)


def _take_over(record: logging.LogRecord) -> bool:
    """Return whether a record of uvicorn goes its own way. Its warnings never reach the root. They are written here."""
    if record.levelno < logging.WARNING:
        return True
    if record.msg != _BROKEN_STREAM:
        _LineHandler().emit(record)
    return False


class _LoopWatch:
    """The exception handler of an event loop. It calls the one that was set before, if any."""

    def __init__(self, before: LoopHandler | None) -> None:
        self._before = before

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        task = context.get("task") or context.get("future")
        fields = {"message": context["message"]} if context.get("message") in _UNHEARD else {}
        if isinstance(task, asyncio.Task):
            fields["task"] = getattr(task.get_coro(), "__qualname__", "")
        write_line("error", "asyncio", EVENT, fields, context.get("exception"))
        if self._before:
            self._before(loop, context)


def _set_hooks() -> None:
    in_main, in_thread, in_finalizer = sys.excepthook, threading.excepthook, sys.unraisablehook

    def of_main(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        write_line("error", "sys.excepthook", EVENT, {}, error)
        if in_main is not sys.__excepthook__:
            in_main(kind, error, trace)

    def of_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_type is not SystemExit:
            write_line("error", "threading.excepthook", EVENT, {}, failed.exc_value)
        if in_thread is not threading.__excepthook__:
            in_thread(failed)

    def of_finalizer(failed: "sys.UnraisableHookArgs") -> None:
        write_line("warning", "sys.unraisablehook", EVENT, {}, failed.exc_value)
        if in_finalizer is not sys.__unraisablehook__:
            in_finalizer(failed)

    sys.excepthook, threading.excepthook, sys.unraisablehook = of_main, of_thread, of_finalizer
