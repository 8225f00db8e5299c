"""Logging to standard error, one line per record, and which records the platform passes on."""

import contextlib
import contextvars
import logging
from collections.abc import Iterator

_HOST = "local.host."


class _Invocation:
    """One call of a function. Tasks that it starts inherit it, so they learn here that it is over."""

    is_running = True


_current: contextvars.ContextVar[_Invocation | None] = contextvars.ContextVar("invocation", default=None)


@contextlib.contextmanager
def invocation() -> Iterator[None]:
    """Pass on the records of `logging` from this context and the ones copied from it, until the block ends."""
    current = _Invocation()
    token = _current.set(current)
    try:
        yield
    finally:
        current.is_running = False
        _current.reset(token)


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\n")


def configure() -> None:
    """Send logs to standard error. Libraries that log every request log only warnings and errors.

    The platform drops a record outside a running invocation without a word. An invocation is over when its function
    returns, so bodies of streams, later tasks, callbacks and threads log nothing. Standard output is not affected.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    handler.addFilter(_is_passed_on)
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("azure", "uvicorn", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def _is_passed_on(record: logging.LogRecord) -> bool:
    """Return whether the record is one of the host itself, or one of a function that runs."""
    current = _current.get()
    return record.name.startswith(_HOST) or (current is not None and current.is_running)
