"""Wake-ups and the other hints: queue messages that make a function look.

They are never the truth: each may be lost, repeated or late.

A wake-up names a shard and a time: the due time of an alarm, rounded up to the second, because queue delays are whole
seconds. It is delayed by less than a minute, or not sent: an invisible message makes the platform scale out, and a
later alarm is found by the heartbeat.

A wake-up that finds nothing due ends there, so those of many processes merge. Only the heartbeat's go on until the next
heartbeat: the first alarm of a shard is often a lease that disappears before it rings, and the alarm behind it, left by
a process that has died, has no wake-up of its own.
"""

from collections.abc import Callable, Mapping

from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.queue.aio import QueueClient

from shared.core.errors import StoreUnavailable
from shared.storage.faults import reaching
from shared.storage.messages import DELIVERIES, RUNS, WAKEUPS, DeliverNow, RunOffer, Wakeup
from shared.telemetry.logs import logger

DELAY_MAX_S = 59
DEADLINE_S = 10.0
KEPT_S = 7 * 86_400
_REMEMBERED = 2_000

_log = logger(__name__)


class Wakeups:
    """Sends hints. Sending never raises: what a hint says is in the table as well."""

    def __init__(self, queues: Mapping[str, QueueClient], now_ms: Callable[[], int]) -> None:
        """Take the clients of the queues `nudges`, `deliveries` and `runs`, by name, and the clock."""
        self._queues = queues
        self._now_ms = now_ms
        self._sent: dict[tuple[str, int], int] = {}  # by shard and second, until when that wake-up goes on

    async def prepare(self) -> None:
        """Create the queues that do not exist; raise StoreUnavailable."""
        for queue in self._queues.values():
            async with reaching(DEADLINE_S):
                try:
                    await queue.create_queue()
                except ResourceExistsError:
                    continue

    async def check(self) -> None:
        """Raise StoreUnavailable if a queue does not answer, or does not exist."""
        for queue in self._queues.values():
            try:
                async with reaching(DEADLINE_S):
                    await queue.get_queue_properties()
            except AzureError as error:
                raise StoreUnavailable from error

    async def aclose(self) -> None:
        """Close the connections."""
        for queue in self._queues.values():
            await queue.close()

    async def sweep(self, shard: str, due_ms: int, until_s: int = 0) -> None:
        """Ask for a sweep of the shard when an alarm of that time is due, if that is within a minute.

        Until `until_s`, in unix seconds, the sweep goes on to the shard's next alarm even if it finds nothing due.
        """
        at_s = -(-due_ms // 1000)
        delay_s = max(0, (at_s * 1000 - self._now_ms()) // 1000)
        if delay_s > DELAY_MAX_S or self._is_sent(shard, at_s, until_s, delay_s):
            return
        if not await self._send(WAKEUPS, Wakeup(shard, at_s, until_s).encode(), delay_s):
            self._sent.pop((shard, at_s), None)  # the next one who asks tries again

    async def deliver(self, alarm_key: str) -> None:
        """Ask for a delivery attempt now."""
        await self._send(DELIVERIES, DeliverNow(alarm_key).encode(), 0)

    async def offer(self, response_id: str, epoch: int) -> None:
        """Offer a run to a holder, for that epoch."""
        await self._send(RUNS, RunOffer(response_id, epoch).encode(), 0)

    def _is_sent(self, shard: str, at_s: int, until_s: int, delay_s: int) -> bool:
        """Return whether this process has sent that wake-up already, or one that goes on for longer.

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
            async with reaching(DEADLINE_S):
                await self._queues[name].send_message(
                    message.decode(), visibility_timeout=delay_s or None, time_to_live=KEPT_S
                )
        except (StoreUnavailable, AzureError) as error:
            cause = error.__cause__ or error
            _log.warning("nudge.lost", extra={"queue": name, "error": type(cause).__name__})
            return False
        return True
