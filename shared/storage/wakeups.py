"""Wake-ups and the other hints: queue messages that make a function look for work.

A hint is never the truth. It may be lost, repeated or late.

A wake-up names shards and the due time of an alarm, rounded up to the second, because queue delays are whole seconds.
If the alarm is due in a minute or more, no wake-up is sent. An invisible message would make the platform scale out, and
the heartbeat finds the alarm later.

The wake-ups for one second that a process decides on within 50 ms are one message. Each message costs the platform an
invocation, and storage three requests. A shard in which much is due has messages of its own, because otherwise one
instance would sweep for all. A process that ends within the 50 ms loses what it has gathered, as a queue may lose it.

A wake-up that finds nothing due sends no other, so the wake-ups of many processes merge. Only those of the heartbeat
continue until the next heartbeat. The first alarm of a shard is often a lease that disappears before it is due. The
alarm behind it may have been left by a process that crashed, and then no wake-up for it exists.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from contextvars import Context
from typing import TYPE_CHECKING, NamedTuple

from shared.core.errors import StoreError
from shared.storage.messages import RUNS, WAKEUPS, RunOffer, Wakeup
from shared.storage.queues import create_queue, queue_exists, send_message
from shared.telemetry.logs import logger

if TYPE_CHECKING:  # its import is slow: shared/bootstrap.py
    from azure.storage.queue.aio import QueueClient

DELAY_MAX_S = 59
GATHER_S = 0.05
_REMEMBERED = 2_000

_log = logger(__name__)


class _Asked(NamedTuple):
    """A wake-up that was asked for. Times are unix seconds."""

    shard: str
    at_s: int
    until_s: int
    is_alone: bool


class Wakeups:
    """Sends hints. Sending never raises, because what a hint says is in the table as well."""

    def __init__(
        self, queues: Mapping[str, "QueueClient"], now_ms: Callable[[], int], *, gather_s: float = GATHER_S
    ) -> None:
        """Take the clients of the queues `nudges`, `deliveries` and `runs`, by name, and the clock.

        `now_ms` returns unix milliseconds. Wake-ups are gathered for `gather_s` seconds. With 0, each is sent at once.
        """
        self._queues = queues
        self._now_ms = now_ms
        self._gather_s = gather_s
        self._sent: dict[tuple[str, int], int] = {}  # the `until_s` of each wake-up, by shard and second
        self._gathered: list[_Asked] = []
        self._flushes: set[asyncio.Task[None]] = set()

    async def prepare(self) -> None:
        """Create the queues that do not exist. Raises StoreUnavailable."""
        await asyncio.gather(*map(create_queue, self._queues.values()))

    async def missing(self) -> list[str]:
        """Return the names of the queues that do not exist. Raises StoreUnavailable if one does not answer."""
        found = await asyncio.gather(*map(queue_exists, self._queues.values()))
        return [name for name, exists in zip(self._queues, found, strict=True) if not exists]

    async def aclose(self) -> None:
        """Send what was gathered, and close the connections."""
        await asyncio.gather(*self._flushes)
        for queue in self._queues.values():
            await queue.close()

    async def sweep(self, shard: str, due_ms: int, until_s: int = 0, *, is_alone: bool = False) -> None:
        """Ask for a sweep of the shard when an alarm with this due time is due, if that is within a minute.

        `due_ms` is unix milliseconds. Before `until_s`, in unix seconds, the sweep sends another wake-up for the next
        alarm of the shard even if it finds nothing due. The message may be sent a little later, with those for other
        shards, unless `is_alone` is set.
        """
        at_s = -(-due_ms // 1000)
        delay_s = self._delay_s(at_s)
        if delay_s > DELAY_MAX_S or self._is_sent(shard, at_s, until_s, delay_s):
            return
        asked = _Asked(shard, at_s, until_s, is_alone)
        if not self._gather_s:
            await self._send_all([asked])
            return
        self._gathered.append(asked)
        if len(self._gathered) == 1:  # of no request's trace, because the message is about those of many
            flush = asyncio.get_running_loop().create_task(self._flush(), context=Context())
            self._flushes.add(flush)
            flush.add_done_callback(self._flushes.discard)

    async def _flush(self) -> None:
        await asyncio.sleep(self._gather_s)
        gathered, self._gathered = self._gathered, []
        await self._send_all(gathered)

    async def _send_all(self, gathered: Iterable[_Asked]) -> None:
        """Send wake-ups, those for one second in one message. All that are due now are for one second, too."""
        messages: dict[tuple[int, int, str], list[_Asked]] = {}
        for asked in _merged(gathered):
            second = asked.at_s if self._delay_s(asked.at_s) else 0
            messages.setdefault((second, asked.until_s, asked.shard if asked.is_alone else ""), []).append(asked)
        await asyncio.gather(*map(self._send_one, messages.values()))

    async def _send_one(self, asked: list[_Asked]) -> None:
        at_s = max(one.at_s for one in asked)
        shards = "".join(sorted({one.shard for one in asked}))
        if await self._send(
            WAKEUPS, Wakeup(shards, at_s, asked[0].until_s).encode(), min(self._delay_s(at_s), DELAY_MAX_S)
        ):
            return
        for one in asked:
            self._sent.pop((one.shard, one.at_s), None)  # the next call tries again

    def _delay_s(self, at_s: int) -> int:
        return max(0, (at_s * 1000 - self._now_ms()) // 1000)

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
        except StoreError as error:
            cause = error.__cause__ or error
            _log.warning("nudge.lost", extra={"queue": name, "error": type(cause).__name__})
            return False
        return True


def _merged(gathered: Iterable[_Asked]) -> Iterable[_Asked]:
    """Return one wake-up for each shard and second, with the latest `until_s`. It is alone if any of them is."""
    found: dict[tuple[str, int], _Asked] = {}
    for asked in gathered:
        known = found.get((asked.shard, asked.at_s), asked)
        until_s, is_alone = max(known.until_s, asked.until_s), known.is_alone or asked.is_alone
        found[asked.shard, asked.at_s] = _Asked(asked.shard, asked.at_s, until_s, is_alone)
    return found.values()
