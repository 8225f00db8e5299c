"""What a client has been told of one response, over however many connections. Pure."""

from collections.abc import Mapping
from typing import Any

DELTA = "response.output_text.delta"
RESTART = "response.in_progress"


class Disorder(Exception):
    """An event came whose number is not above the one before."""


class Transcript:
    """The text so far, and the place to go on from."""

    def __init__(self) -> None:
        self._texts: dict[tuple[int, int], str] = {}
        self.response_id = ""
        self.token: str | None = ""  # of the last event; None once the stream has ended
        self.last = -1  # the number of the last event
        self.events = 0
        self.deltas = 0
        self.restarts = 0

    @property
    def text(self) -> str:
        """The deltas joined, part by part, each on lines of its own."""
        return "\n".join(self._texts[place] for place in sorted(self._texts))

    @property
    def has_ended(self) -> bool:
        """Say whether the terminal event has come."""
        return self.token is None

    def take(self, event: Mapping[str, Any]) -> str:
        """Take the next event in and return the text that it adds; raise Disorder if its number has not grown."""
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
        """Drop what was told, as the contract has it when the work was begun anew."""
        self.restarts += bool(self._texts)
        self._texts.clear()

    def _add(self, event: Mapping[str, Any]) -> str:
        place = event["output_index"], event["content_index"]
        delta: str = event["delta"]
        self._texts[place] = self._texts.get(place, "") + delta
        self.deltas += 1
        return delta
