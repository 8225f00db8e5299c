"""The run in which each stream is dropped after each event and resumed after it, live, and once more from its log.

Only the first event of each connection counts. So an event that a resume leaves out, or sends again, shows.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import orjson

from local.bench.faults.reckoning import Event, Read, resume_values
from local.bench.loads.driver import TEXT
from local.bench.loads.runs import bounded
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender, LacksError, Streams, Target
from local.bench.meters.ratios import Measured
from local.stack.process import PartError

LACKS = "it has no streams that can be resumed"
BEFORE_ALL = -1
DATA = "data: "
MOST_EVENTS = 1_000
CALL_DEADLINE_S = 30.0
RUN_DEADLINE_S = 200.0
ENDS = ("response.completed", "response.failed", "response.incomplete", "response.cancelled", "error")


def resume_run(contender: Contender, sizes: Sizes) -> Measured:
    """Measure streams of 20 events a second at once. Raise LacksError if the system has none that can be resumed."""
    with contender.open() as target:
        if target.streams is None:
            raise LacksError(contender.name, LACKS)
        return bounded(_resumed(target, target.streams, sizes), RUN_DEADLINE_S)


async def _resumed(target: Target, streams: Streams, sizes: Sizes) -> Measured:
    model = f"sim-clock-{sizes.resumed_s:g}s"
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=0)
    async with httpx.AsyncClient(
        headers=target.headers, limits=limits, timeout=CALL_DEADLINE_S, trust_env=False
    ) as http:
        reader = _Reader(http, streams, target.id_field)
        live = await asyncio.gather(*(reader.live(model) for _ in range(sizes.resumed)))
        logged = await asyncio.gather(*(reader.logged(one) for one in live))
    return resume_values(live, logged)


class _Reader:
    """Reads streams of one system, one event for each connection."""

    def __init__(self, http: httpx.AsyncClient, streams: Streams, id_field: str) -> None:
        self._http = http
        self._streams = streams
        self._id_field = id_field

    async def live(self, model: str) -> Read:
        """Begin a stream, and read it to its end while it is made."""
        response_id, events = await self._begun(model)
        return await self._to_the_end(Read(response_id, events))

    async def logged(self, live: Read) -> Read:
        """Read a stream that has ended once more, from the event that began it."""
        return await self._to_the_end(Read(live.response_id, live.events[:1]))

    async def _to_the_end(self, read: Read) -> Read:
        while not read.events or read.events[-1].kind not in ENDS:
            after = read.events[-1].number if read.events else BEFORE_ALL
            began_s = time.perf_counter()
            event = await self._next(read.response_id, after)
            read.waits_ms.append((time.perf_counter() - began_s) * 1000)
            if event is None or len(read.events) > MOST_EVENTS:
                return read
            read.events.append(event)
        return read

    async def _begun(self, model: str) -> tuple[str, list[Event]]:
        """Create a response. Return its id, and its first event if the answer is a stream."""
        body = {"model": model, "input": TEXT, "background": True, "stream": True}
        async with self._answered("POST", self._streams.create_url, body) as answer:
            if "event-stream" not in answer.headers.get("content-type", ""):
                return str(orjson.loads(await answer.aread())[self._id_field]), []
            first = await _first(answer)
        if first is None:
            raise PartError("target", "its new stream has no event")
        return str(first["response"]["id"]), [_event(first)]

    async def _next(self, response_id: str, after: int) -> Event | None:
        """Return the first event of a new connection, or None if it has none, and drop the connection."""
        async with self._answered("GET", self._streams.resume(response_id, after)) as answer:
            found = await _first(answer)
        return None if found is None else _event(found)

    @asynccontextmanager
    async def _answered(self, method: str, url: str, body: object = None) -> AsyncIterator[httpx.Response]:
        async with self._http.stream(method, url, json=body) as answer:
            if not answer.is_success:
                raise PartError("target", f"{method} {url} answered {answer.status_code}")
            yield answer


async def _first(answer: httpx.Response) -> dict[str, Any] | None:
    async for line in answer.aiter_lines():
        if line.startswith(DATA):
            found: dict[str, Any] = orjson.loads(line.removeprefix(DATA))
            return found
    return None


def _event(given: dict[str, Any]) -> Event:
    """Return what is checked of an event: its number, its type, its piece of the text, and the text of the whole."""
    kind = str(given.get("type"))
    delta = str(given["delta"]) if kind == "response.output_text.delta" else ""
    return Event(int(given["sequence_number"]), kind, delta, _text(given.get("response") or {}))


def _text(response: dict[str, Any]) -> str:
    parts = [part for item in response.get("output") or [] for part in item.get("content") or []]
    return "".join(str(part.get("text", "")) for part in parts)
