"""Wake-ups and the other hints: queue messages that make a function look for work.

A hint is never the truth. It may be lost, repeated or late.

A wake-up names a shard and the due time of an alarm, rounded up to the second, because queue delays are whole seconds.
If the alarm is due in a minute or more, no wake-up is sent. An invisible message would make the platform scale out, and
the heartbeat finds the alarm later.

A wake-up that finds nothing due sends no other, so the wake-ups of many processes merge. Only those of the heartbeat
continue until the next heartbeat. The first alarm of a shard is often a lease that disappears before it is due. The
alarm behind it may have been left by a process that crashed, and then no wake-up for it exists.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from shared.core.errors import StoreUnavailable
from shared.storage.messages import RUNS, WAKEUPS, RunOffer, Wakeup
from shared.storage.queues import create_queue, queue_exists, send_message
from shared.telemetry.logs import logger

if TYPE_CHECKING:  # its import is slow: shared/bootstrap.py
    from azure.storage.queue.aio import QueueClient

DELAY_MAX_S = 59
_REMEMBERED = 2_000

_log = logger(__name__)


class Wakeups:
    """Sends hints. Sending never raises, because what a hint says is in the table as well."""

    def __init__(self, queues: Mapping[str, "QueueClient"], now_ms: Callable[[], int]) -> None:
        """Take the clients of the queues `nudges`, `deliveries` and `runs`, by name, and the clock.

        `now_ms` returns unix milliseconds.
        """
        self._queues = queues
        self._now_ms = now_ms
        self._sent: dict[tuple[str, int], int] = {}  # the `until_s` of each wake-up, by shard and second

    async def prepare(self) -> None:
        """Create the queues that do not exist. Raises StoreUnavailable."""
        await asyncio.gather(*map(create_queue, self._queues.values()))

    async def missing(self) -> list[str]:
        """Return the names of the queues that do not exist. Raises StoreUnavailable if one does not answer."""
        found = await asyncio.gather(*map(queue_exists, self._queues.values()))
        return [name for name, exists in zip(self._queues, found, strict=True) if not exists]

    async def aclose(self) -> None:
        """Close the connections."""
        for queue in self._queues.values():
            await queue.close()

    async def sweep(self, shard: str, due_ms: int, until_s: int = 0) -> None:
        """Ask for a sweep of the shard when an alarm with this due time is due, if that is within a minute.

        `due_ms` is unix milliseconds. Before `until_s`, in unix seconds, the sweep sends another wake-up for the next
        alarm of the shard even if it finds nothing due.
        """
        at_s = -(-due_ms // 1000)
        delay_s = max(0, (at_s * 1000 - self._now_ms()) // 1000)
        if delay_s > DELAY_MAX_S or self._is_sent(shard, at_s, until_s, delay_s):
            return
        if not await self._send(WAKEUPS, Wakeup(shard, at_s, until_s).encode(), delay_s):
            self._sent.pop((shard, at_s), None)  # the next call tries again

    async def offer(self, response_id: str, epoch: int) -> None:
        """Offer the run of a response to a new holder, for this epoch."""
        await self._send(RUNS, RunOffer(response_id, epoch).encode(), 0)

    def _is_sent(self, shard: str, at_s: int, until_s: int, delay_s: int) -> bool:
        """Return whether this process has sent that wake-up already, or one with a later `until_s`.

        Immediate wake-ups are never deduplicated, because the earlier one may have been consumed.
        """
        if delay_s < 1:
            return False
        if self._sent.get((shard, at_s), -1) >= until_s:
            return True
        self._sent[shard, at_s] = until_s
        while len(self._sent) > _REMEMBERED:
            del self._sent[next(iter(self._sent))]
        return False

    async def _send(self, name: str, message: bytes, delay_s: int) -> bool:
        try:
            await send_message(self._queues[name], message.decode(), delay_s)
        except StoreUnavailable as error:
            cause = error.__cause__ or error
            _log.warning("nudge.lost", extra={"queue": name, "error": type(cause).__name__})
            return False
        return True
