"""A client's POSTs over a storage whose operations pass one at a time, in every order."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, cast

from shared.core.errors import Conflict
from shared.core.records import Record
from shared.core.states import Status
from shared.foreground.clients import Client
from shared.foreground.repeats import Repeats
from shared.runtime.config import Config
from shared.runtime.ports import Ports

OWNER = f"resp_{'0' * 32}"
OPENAI_AGAIN = Client(retry_count=1)
ORDERS = 6_000  # of the steps, for each story, unless it asks for another number

Story = Callable[["World"], list[Coroutine[Any, Any, None]]]


class Row(dict[str, str]):
    """A row with its version."""

    etag = ""


@dataclass
class World:
    """Storage and the clock. Every operation waits until it is let pass."""

    rows: dict[str, Row] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    works: list[str] = field(default_factory=list)
    answers: list[str] = field(default_factory=list)
    now_ms: int = 1_000_000
    version: int = 0

    def ports(self) -> Ports:
        """Return ports to this storage and clock."""
        clock = SimpleNamespace(now_ms=lambda: self.now_ms, sleep=self._sleep)
        return cast("Ports", SimpleNamespace(store=self, clock=clock, config=Config()))

    async def _sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now_ms += int(seconds * 1000)

    # What `Repeats` calls

    async def read(self, response_id: str) -> Record | None:
        """Return a record."""
        await asyncio.sleep(0)
        return self.records.get(response_id)

    async def find(self, _owner: str, key: str) -> Row | None:
        """Return a copy of a row."""
        await asyncio.sleep(0)
        if key not in self.rows:
            return None
        found = Row(self.rows[key])
        found.etag = self.rows[key].etag
        return found

    async def insert(self, _owner: str, key: str, properties: dict[str, str], _alarm: object) -> bool:
        """Insert a row unless it exists."""
        await asyncio.sleep(0)
        if key in self.rows:
            return False
        self._put(key, properties)
        return True

    async def replace(self, _owner: str, key: str, properties: dict[str, str], etag: str) -> None:
        """Change properties of a row if it has this ETag. Others stay."""
        await asyncio.sleep(0)
        if self.rows[key].etag != etag:
            raise Conflict
        self._put(key, self.rows[key] | properties)

    def _put(self, key: str, properties: dict[str, str]) -> None:
        self.version += 1
        self.rows[key] = Row(properties)
        self.rows[key].etag = str(self.version)

    # Tries

    async def post(self, mine: str, client: Client, *, inserts: bool | None = None, leaves: bool = False) -> None:
        """Make a POST, as `open_call` does, and note which work answers it. Its client may leave that."""
        repeats = Repeats(self.ports(), OWNER, mine, client)
        if inserts is None:
            inserts = client.retry_count is not None or client.bounds_body
        place = await repeats.place(inserts=inserts)
        if place.record is None:
            await self._accept(place.id)
        self.answers.append(place.id)
        if leaves:
            await repeats.leave(place.id)

    async def leave(self, response_id: str, client: Client) -> None:
        """Let the client of a work leave."""
        await Repeats(self.ports(), OWNER, response_id, client).leave(response_id)

    async def _accept(self, response_id: str) -> None:
        await asyncio.sleep(0)
        if response_id not in self.records:  # of two inserts one wins, and the other joins
            self.works.append(response_id)
            self.records[response_id] = at_work(response_id)


def at_work(response_id: str) -> Record:
    """Return the record of a response that has not ended."""
    return Record(response_id, "ann", created_ms=1, deadline_ms=10**12, status=Status.IN_PROGRESS)


# Every order of the steps


def played(story: Story, choices: list[int], stop_at: int | None) -> tuple[World, int]:
    """Play a story in one order: each choice is the index of the try that makes the next step.

    The first try dies after `stop_at` steps. Returns the world, and how many choices there were in the last step.
    """
    world = World()
    tries: list[Coroutine[Any, Any, None] | None] = list(story(world))
    made = 0
    for step in range(1_000):
        ready = [n for n, one in enumerate(tries) if one is not None and not (n == 0 and made == stop_at)]
        if not ready:
            break
        chosen = ready[(choices[step] if step < len(choices) else 0) % len(ready)]
        made += chosen == 0
        try:
            cast("Coroutine[Any, Any, None]", tries[chosen]).send(None)
        except StopIteration:
            tries[chosen] = None
    for one in tries:
        if one is not None:
            one.close()
    return world, len(tries)


def _finish(work: Coroutine[Any, Any, None]) -> None:
    """Let a try make all its steps. No event loop is needed, because nothing here waits for time to pass."""
    with contextlib.suppress(StopIteration):
        while True:
            work.send(None)


def orders(tries: int, length: int, most: int) -> Iterator[list[int]]:
    """Yield orders of steps: all of them while they are few, or else ones spread over all."""
    total = tries**length
    stride = max(1, total // most)
    for number in range(0, total, stride):
        yield [number // tries**place % tries for place in range(length)]


def outcomes(story: Story, *, dies: bool, tries: int, length: int = 12, most: int = ORDERS) -> Counter[int]:
    """Play a story in many orders, and count the works that it makes. With `dies`, its first try dies at any step."""
    found = Counter[int]()
    for stop_at in (None, *(range(9) if dies else ())):
        for choices in orders(tries, length, most):
            world, _ = played(story, choices, stop_at)
            if dies:
                _finish(world.post("resp_9", replace(OPENAI_AGAIN, retry_count=tries)))
            found[len(world.works)] += 1
            assert set(world.answers) <= set(world.works)
    return found
