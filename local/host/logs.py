"""Logging to standard error, one line per record."""

import logging


class _OneLine(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).replace("\n", "\\n")


def configure() -> None:
    """Send all logs to standard error. Libraries that log every request log only warnings and errors."""
    handler = logging.StreamHandler()
    handler.setFormatter(_OneLine("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    for chatty in ("azure", "uvicorn", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
