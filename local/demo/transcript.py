"""What a client has received of one response, over any number of connections. Pure."""

from collections.abc import Mapping
from typing import Any

DELTA = "response.output_text.delta"
RESTART = "response.in_progress"


class Disorder(Exception):
    """An event arrived whose number is not above the previous one."""


class Transcript:
    """The text so far, and the position to resume from."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, int], str] = {}
        self.response_id = ""
        self.token: str | None = ""  # of the last event, or None once the stream has ended
        self.last = -1  # the number of the last event
        self.events = 0
        self.deltas = 0
        self.restarts = 0

    @property
    def text(self) -> str:
        """The joined deltas. Each part starts on a new line."""
        return "\n".join(self._texts[place] for place in sorted(self._texts))

    @property
    def has_ended(self) -> bool:
        """Whether the terminal event has arrived."""
        return self.token is None

    def take(self, event: Mapping[str, Any]) -> str:
        """Add the next event and return the text that it adds. Raise Disorder if its number has not increased."""
        number = event["sequence_number"]
        if number <= self.last:
            raise Disorder(f"event {number} came after event {self.last}")
        self.last = number
        self.token = event["continuation_token"]
        self.events += 1
        if event["type"] == RESTART:
            self._restart()
        elif event["type"] == "response.created":
            self.response_id = event["response"]["id"]
        return self._add(event) if event["type"] == DELTA else ""

    def _restart(self) -> None:
        """Drop the text so far. The contract requires this when the work is started again."""
        self.restarts += bool(self._texts)
        self._texts.clear()

    def _add(self, event: Mapping[str, Any]) -> str:
        place = event["output_index"], event["content_index"]
        delta: str = event["delta"]
        self._texts[place] = self._texts.get(place, "") + delta
        self.deltas += 1
        return delta
