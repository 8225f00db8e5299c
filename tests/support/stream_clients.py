"""Clients of a stream, which check everything they read as any client could."""

import asyncio
from collections.abc import Sequence
from typing import Any, TypeAlias

import orjson

from shared.contract import sse
from shared.contract.requests import parse_request
from shared.core.ids import read_token
from shared.engine import Engine
from shared.foreground.call_stream import Chunks
from shared.storage.messages import RUNS
from tests.support.conditions import DEADLINE_S
from tests.support.foreground_calls import PATIENT
from tests.support.stage import ANN, Stage

Received: TypeAlias = tuple[int, dict[str, Any]]
"""An event as read: its sequence number, and its object without number and token."""
Line: TypeAlias = tuple[int, str, str]
"""What tests compare of an event: its number, type and text."""

MAX_EVENT = 40_000_000
QUICK = {"flush_s": 0.02, "watch_s": 0.05, "tail_s": 0.02, "tail_idle_s": 0.02, "tail_max_s": 0.05}
TERMINAL = ("response.completed", "response.failed", "response.incomplete")


class Reader:
    """A client of one stream. It checks that each frame names its event and carries a token of its position."""

    def __init__(self, response_id: str, chunks: Chunks) -> None:
        self.id = response_id
        self.received: list[Received] = []
        self.chunks = chunks
        self._messages = sse.messages(chunks, MAX_EVENT)

    async def take(self, count: int) -> list[Received]:
        """Read this number of further events and return them."""
        async with asyncio.timeout(DEADLINE_S):
            return [self._read(await anext(self._messages)) for _ in range(count)]

    async def rest(self) -> list[Received]:
        """Read to the end of the stream and return everything read so far."""
        async with asyncio.timeout(DEADLINE_S):
            async for message in self._messages:
                self._read(message)
        return self.received

    async def leave(self) -> None:
        """Close the connection."""
        await self._messages.aclose()
        await self.chunks.aclose()

    def _read(self, message: sse.Message) -> Received:
        event = orjson.loads(message.data)
        assert message.kind == ("message" if event["type"] == "error" else event["type"])
        number, token = event.pop("sequence_number"), event.pop("continuation_token")
        if token is not None:
            assert message.id == token
            cursor = read_token(token)
            assert cursor is not None
            assert (cursor.id, cursor.after) == (self.id, number)
        assert (token is None) == (event["type"] in TERMINAL)
        assert not self.received or number > self.received[-1][0]
        self.received.append((number, event))
        return number, event


async def streamed(stage: Stage, engine: Engine | None = None, *, key: str | None = None, **fields: Any) -> Reader:
    """Create a streamed response, in the background unless the fields say otherwise.

    Return its reader, which has read the first event.
    """
    body = {"model": "m", "input": "question", "background": True, "stream": True, **fields}
    chunks = await (engine or stage.engine).create_stream(ANN, parse_request(orjson.dumps(body)), key, PATIENT)
    reader = Reader("", chunks)
    first = await anext(reader._messages)
    reader.id = orjson.loads(first.data)["response"]["id"]
    reader._read(first)
    return reader


async def resumed(stage: Stage, response_id: str, after: int | None = None, engine: Engine | None = None) -> Reader:
    """Return a reader of a response's stream, after a number or from the start."""
    cursor = None if after is None else str(after)
    return Reader(response_id, await (engine or stage.engine).stream(ANN, response_id, cursor, None))


async def replayed(stage: Stage, response_id: str, after: int | None = None) -> list[Received]:
    """Return all further events of a response's stream, after a number or from the start."""
    return await (await resumed(stage, response_id, after)).rest()


def offers(stage: Stage, response_id: str) -> list[int]:
    """Return the epochs for which the run has been offered by message so far."""
    sent = [one.content for one in stage.sent if one.queue == RUNS]
    return [message["epoch"] for message in sent if message["response"] == response_id]


def numbers(received: Sequence[Received]) -> list[int]:
    """Return the sequence numbers of events."""
    return [number for number, _ in received]


def kinds(received: Sequence[Received]) -> list[str]:
    """Return the types of events without their common prefix."""
    return [event["type"].removeprefix("response.") for _, event in received]


def lines_of(received: Sequence[Received]) -> list[Line]:
    """Return number, type and text of events as read."""
    return [(number, event["type"], event.get("delta", "")) for number, event in received]


def expected_lines(events: Sequence[dict[str, Any]]) -> list[Line]:
    """Return number, type and text of an upstream's events as every reader must read them."""
    shown = [event for event in events if event["type"] != "keepalive"]
    return [(number, event["type"], event.get("delta", "")) for number, event in enumerate(shown)]


def text(received: Sequence[Received]) -> str:
    """Return the text that a client has. A second `response.in_progress` makes the text before it void."""
    deltas: list[str] = []
    for kind, (_, event) in zip(kinds(received), received, strict=True):
        if kind == "in_progress":
            deltas.clear()
        elif kind == "output_text.delta":
            deltas.append(event["delta"])
    return "".join(deltas)
