"""The streams of a scripted upstream: the events of its work, and what goes wrong on the way."""

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any

from shared.core.errors import UpstreamBroken
from shared.upstreams.protocol import UpstreamEvent

LIFE = frozenset({"created", "queued", "in_progress", "completed", "failed", "incomplete"})
KEEPALIVE = {"type": "keepalive"}


class Gate:
    """A point at which code waits. `reached` is set when it arrives, and `open` lets it continue."""

    def __init__(self) -> None:
        self.reached = asyncio.Event()
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let everything that waits here continue, now and later."""
        self._opened.set()

    async def wait(self) -> None:
        """Wait here until the gate is opened."""
        self.reached.set()
        await self._opened.wait()


def story(deltas: int, *, text: str = "d") -> list[dict[str, Any]]:
    """Return the events of work that completes after this number of text deltas. Event n + 2 is delta n."""
    received = [{"type": "response.output_text.delta", "delta": f"{text}{n}"} for n in range(deltas)]
    return [{"type": "response.created"}, {"type": "response.in_progress"}, *received, {"type": "response.completed"}]


def is_life(event: dict[str, Any]) -> bool:
    """Return whether an event is about the response as a whole, and therefore holds its object."""
    return str(event["type"]).removeprefix("response.") in LIFE


@dataclass
class Streams:
    """The script of all streams, and a record of the calls.

    The sequence number of an event is its place in `events`, keepalives included. A gate holds every stream before the
    event at its place. `breaks` has one element for each of the next streams: the number of events after which it
    breaks off, or None.
    """

    events: list[dict[str, Any]] = field(default_factory=lambda: story(6))
    numbered: bool = True
    resumes: bool = True  # else every stream begins at the first event, whatever the cursor
    whole: bool = False  # answers with JSON instead of a stream
    gates: dict[int, Gate] = field(default_factory=dict)
    breaks: list[int | None] = field(default_factory=list)
    run_errors: list[Exception] = field(default_factory=list)
    follow_errors: list[Exception] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)  # the idempotency keys
    follows: list[tuple[str, int | None]] = field(default_factory=list)  # upstream tokens and cursors
    opened: int = 0
    closed: int = 0
    given: int = 0  # number of events that all streams have yielded

    def hold(self, place: int) -> Gate:
        """Hold every stream before this event."""
        self.gates[place] = Gate()
        return self.gates[place]

    async def tell(
        self, first: int, events: list[dict[str, Any]], answer: dict[str, Any]
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Yield the events of one piece of work, from a place on.

        Events about the response as a whole hold this answer.
        """
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
            shown = answer if status in ("completed", "incomplete") else answer | {"output": []}
            data["response"] = (
                shown | {"status": "queued" if status == "created" else status} | event.get("response", {})
            )
        if self.numbered:
            data["sequence_number"] = place
        return UpstreamEvent(place if self.numbered else None, data)
