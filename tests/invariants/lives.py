"""The life of a response, from its request to its callback, driven by one process after another."""

from dataclasses import dataclass
from typing import Any

import orjson

from shared.contract.requests import parse_request
from shared.core.ids import derived_id
from shared.core.records import Record
from shared.engine import Engine
from tests.support.failover import RemainingProcess
from tests.support.stage import ANN, CALLBACK_URL, Stage

DUE_MS = 90_000  # invariant 1: what was due happens within this time
ASKED: dict[str, Any] = {"model": "m", "input": "question", "background": True, "callback_url": CALLBACK_URL}


@dataclass(frozen=True)
class Life:
    """One response. Its idempotency key gives it an id before it exists."""

    stage: Stage
    key: str

    @property
    def body(self) -> bytes:
        """The body of the create call."""
        return orjson.dumps(ASKED)

    @property
    def id(self) -> str:
        """The id of the response."""
        return derived_id(ANN.name.encode(), self.key.encode(), self.body)

    async def create(self, engine: Engine) -> Record:
        """Create the response through a process."""
        record, _ = await engine.create(ANN, parse_request(self.body), self.key, 0)
        return record

    async def record(self) -> Record | None:
        """Return the record, or None if the response was never accepted."""
        return await self.stage.ports.store.read(self.id)

    def events(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the webhook id and the body of each callback that the receiver got about the response."""
        posts = [(post.headers["webhook-id"], orjson.loads(post.body)) for post in self.stage.receiver.posts]
        return [(webhook_id, event) for webhook_id, event in posts if event["data"]["id"] == self.id]

    async def is_over(self) -> bool:
        """Return whether the response has ended and none of its deliveries is open."""
        record = await self.record()
        return record is not None and record.status.is_terminal and not any(one.is_open for one in record.deliveries)

    async def run(self, engine: Engine) -> None:
        """Live the whole life in one process."""
        await self.create(engine)
        await self.finish(engine)

    async def finish(self, engine: Engine, within_ms: int = DUE_MS) -> None:
        """Let a process handle messages and heartbeats until the response is over.

        Earlier messages are lost. Fail if it takes longer than `within_ms` on the stage's clock.
        """
        now_ms = self.stage.clock.ms
        await RemainingProcess(self.stage, engine, now_ms + 60_000).run_until(self.is_over, now_ms + within_ms)
