"""How a scripted upstream streams: the events that its work tells, and what goes wrong on the way."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from shared.core.errors import UpstreamBroken
from shared.upstreams.protocol import UpstreamEvent

LIFE = frozenset({"created", "queued", "in_progress", "completed", "failed", "incomplete"})
KEEPALIVE = {"type": "keepalive"}


class Gate:
    """A place to stop at: `reached` once somebody has come, who goes on when it is opened."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let everybody through."""
        self._opened.set()

    async def wait(self) -> None:
        """Stop here until it is opened."""
        self.reached.set()
        await self._opened.wait()


def story(deltas: int, *, text: str = "d") -> list[dict[str, Any]]:
    """Return the events of work that tells so many pieces of text and completes; event n + 2 is piece n."""
    received = [{"type": "response.output_text.delta", "delta": f"{text}{n}"} for n in range(deltas)]
    return [{"type": "response.created"}, {"type": "response.in_progress"}, *received, {"type": "response.completed"}]


def is_life(event: dict[str, Any]) -> bool:
    """Say whether an event tells of the response as a whole, and so holds its object."""
    return str(event["type"]).removeprefix("response.") in LIFE


@dataclass
class Streams:
    """The script of all streams, and what has been asked of it.

    Each event has the number of its place, keepalives too. A gate stops every stream before the event at its place.
    `breaks` says of the next streams after how many events they break off; None: not at all.
    """

    events: list[dict[str, Any]] = field(default_factory=lambda: story(6))
    numbered: bool = True
    resumes: bool = True  # else every stream begins at the first event, whatever is asked for
    whole: bool = False  # answers with JSON instead
    gates: dict[int, Gate] = field(default_factory=dict)
    breaks: list[int | None] = field(default_factory=list)
    run_errors: list[Exception] = field(default_factory=list)
    follow_errors: list[Exception] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)  # the keys
    follows: list[tuple[str, int | None]] = field(default_factory=list)  # token and cursor
    opened: int = 0
    closed: int = 0
    given: int = 0  # events, in all streams

    def hold(self, place: int) -> Gate:
        """Stop every stream before this event."""
        self.gates[place] = Gate()
        return self.gates[place]

    async def tell(
        self, first: int, events: list[dict[str, Any]], answer: dict[str, Any]
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Give events of one piece of work, from a place on; those that tell of the response hold this answer."""
        self.opened += 1
        end = self.breaks.pop(0) if self.breaks else None
        try:
            for place, event in list(enumerate(events))[first:]:
                if end is not None and place - first >= end:
                    break
                if gate := self.gates.get(place):
                    await gate.wait()
                self.given += 1
                yield self._sent(place, event, answer)
            if end is not None:
                raise UpstreamBroken("as the script says")
        finally:
            self.closed += 1

    def _sent(self, place: int, event: dict[str, Any], answer: dict[str, Any]) -> UpstreamEvent:
        data = dict(event)
        if is_life(event):
            status = str(event["type"]).removeprefix("response.")
            shown = answer | {"status": "queued" if status == "created" else status} | event.get("response", {})
            data["response"] = shown if status in ("completed", "incomplete") else shown | {"output": []}
        if self.numbered:
            data["sequence_number"] = place
        return UpstreamEvent(place if self.numbered else None, data)
