"""A relay whose answers are scripted, and which remembers what it was asked."""

from typing import Any

from shared.core.errors import UpstreamError
from shared.upstreams.relay import Relay


class ScriptedRelay(Relay):
    """Answers by path without the query. An unknown path is answered with an empty object."""

    def __init__(self) -> None:
        self.answers: dict[str, dict[str, Any]] = {}
        self.errors: list[UpstreamError | None] = []  # of the next calls, of which those with None are answered
        self.asked: list[tuple[str, str, dict[str, Any] | None]] = []

    async def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """Return the scripted answer, or raise the next scripted error."""
        self.asked.append((method, path, body))
        if self.errors and (error := self.errors.pop(0)):
            raise error
        return self.answers.get(path.partition("?")[0], {})
