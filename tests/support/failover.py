"""Failover: the process that remains after a crash, with its own messages and heartbeat, on a stage's clock."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import orjson

from shared.engine import Engine
from shared.storage.messages import RUNS, WAKEUPS, RunOffer
from tests.support.queue_pump import swept
from tests.support.sent_messages import Sent
from tests.support.stage import Stage

HEARTBEAT_MS = 60_000


@dataclass
class RemainingProcess:
    """The process that remains, from now on.

    Messages that were sent before are lost, because the crashed process had received them.
    """

    stage: Stage
    engine: Engine
    next_beat_ms: int
    _heard: int = 0
    _waiting: list[tuple[int, Sent]] = field(default_factory=list)  # when each message is visible, in unix ms

    def __post_init__(self) -> None:
        self._heard = len(self.stage.sent)

    async def run_until(self, holds: Callable[[], Awaitable[bool]], deadline_ms: int) -> None:
        """Handle the next message or heartbeat, and move the clock to it, until the condition holds.

        Fail when the clock has passed the deadline.
        """
        while not await holds():
            await self.step()
            assert self.stage.clock.ms <= deadline_ms, "the condition does not hold at the deadline"

    async def step(self) -> None:
        """Move the clock to the next message or heartbeat, and handle it."""
        self._listen()
        visible_ms = min((at_ms for at_ms, _ in self._waiting), default=self.next_beat_ms)
        self.stage.clock.ms = max(self.stage.clock.ms, min(visible_ms, self.next_beat_ms))
        if self.next_beat_ms <= self.stage.clock.ms:
            self.next_beat_ms += HEARTBEAT_MS
            await self.engine.heartbeat()
        else:
            first = min(self._waiting, key=lambda waiting: waiting[0])
            self._waiting.remove(first)
            await self._handle(first[1])
        await asyncio.gather(*self.engine._ports.background.tasks)
        await self.stage.gate_tasks.finished()

    def _listen(self) -> None:
        new = self.stage.sent[self._heard :]
        self._heard += len(new)
        self._waiting += [(self.stage.clock.ms + sent.delay_s * 1000, sent) for sent in new]

    async def _handle(self, sent: Sent) -> None:
        if sent.queue == WAKEUPS:
            await swept(self.engine, orjson.dumps(sent.content))
        elif sent.queue == RUNS:
            await self.engine.drive(RunOffer.decode(orjson.dumps(sent.content)))
