"""Readers of one stream. They leave, are cut off and resume elsewhere, and check every event they read."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import TypeAlias

import httpx

from local.chaos.load.clients import CALL_S, PAUSE_S, STREAM_SILENCE_S, Clients
from local.chaos.load.ledger import Json

READ_S = 300.0
ENDS = ("response.completed", "response.failed", "response.incomplete")
RESTART = "response.in_progress"
DELTA = "response.output_text.delta"
Opened: TypeAlias = AbstractAsyncContextManager[httpx.Response]
WAITING = httpx.Timeout(CALL_S, connect=5.0, read=STREAM_SILENCE_S)


@dataclass
class Reader:
    """A client of one stream. `drops` are the counts of events after which it leaves and comes back."""

    clients: Clients
    host: int
    drops: Sequence[int] = ()
    events: list[Json] = field(default_factory=list)
    connections: int = 0

    @property
    def has_ended(self) -> bool:
        """Whether it has read the terminal event."""
        return bool(self.events) and self.events[-1]["type"] in ENDS

    async def read(self, body: Json, key: str) -> bool:
        """Create a stream and read it to its end. Return whether it has ended in time."""
        return await self._read_on(lambda client: client.stream("POST", "/responses", json=body, headers=_key(key)))

    async def follow(self, response_id: str, after: int = -1) -> bool:
        """Read the stream of a response after a number, to its end. Return whether it has ended in time."""
        path = f"/responses/{response_id}"
        query = {"stream": "true", "starting_after": str(after)} if after >= 0 else {"stream": "true"}
        return await self._read_on(lambda client: client.stream("GET", path, params=query, timeout=WAITING))

    async def _read_on(self, first: Callable[[httpx.AsyncClient], Opened]) -> bool:
        end = time.monotonic() + READ_S
        while not self.has_ended and time.monotonic() < end:
            client = self.clients.at(self.host + self.connections)
            self.connections += 1
            opened = self._resumed(client) if self.events else first(client)
            try:
                async with opened as answer:
                    if self.clients.judge(answer):
                        self.clients.ledger.check("a stream is opened", answer.status_code == 200, answer.status_code)
                        await self._take(answer)
            except httpx.TransportError:
                self.clients.ledger.answers["broken stream"] += 1
            if not self.has_ended:
                await asyncio.sleep(PAUSE_S)
        return self.has_ended

    def _resumed(self, client: httpx.AsyncClient) -> Opened:
        query = {"stream": "true"}
        return client.stream(
            "GET", f"/responses/{self.events[-1]['continuation_token']}", params=query, timeout=WAITING
        )

    async def _take(self, answer: httpx.Response) -> None:
        async for event in _events(answer):
            self.events.append(event)
            if len(self.events) in self.drops:
                return


async def _events(answer: httpx.Response) -> AsyncIterator[Json]:
    async for line in answer.aiter_lines():
        if line.startswith("data: "):
            event: Json = json.loads(line.removeprefix("data: "))
            yield event


def _key(key: str) -> dict[str, str]:
    return {"Idempotency-Key": key}


def text_of(events: Sequence[Json]) -> str:
    """Return the text that a reader puts together. A second `response.in_progress` makes the text before it void."""
    text = ""
    for event in events:
        if event["type"] == RESTART:
            text = ""
        elif event["type"] == DELTA:
            text += event["delta"]
    return text


def trouble(events: Sequence[Json], after: int = -1) -> str:
    """Return what is wrong with the numbers of events that were read after a number, or an empty string.

    They only grow. After a jump comes a second `response.in_progress` or the end.
    """
    last = after
    for event in events:
        number, kind = event["sequence_number"], event["type"]
        if number <= last:
            return f"{number} after {last}"
        if number > last + 1 and kind not in (*ENDS, RESTART, "error"):
            return f"a jump from {last} to {number}, which is {kind}"
        last = number
    return ""


def contradiction(events: Sequence[Json], others: Sequence[Json]) -> str:
    """Return an event that two readers have seen differently, or an empty string.

    Of those that were read, only what follows the last restart is compared.
    """
    told = {event["sequence_number"]: _content(event) for event in _valid(others)}
    for event in _valid(events):
        number = event["sequence_number"]
        if number in told and told[number] != _content(event):
            return f"event {number} is {_content(event)}, and {told[number]}"
    return ""


def _valid(events: Sequence[Json]) -> Sequence[Json]:
    restarts = [index for index, event in enumerate(events) if event["type"] == RESTART]
    return events[restarts[-1] :] if restarts else events


def _content(event: Json) -> tuple[str, str]:
    return event["type"], str(event.get("delta", ""))
