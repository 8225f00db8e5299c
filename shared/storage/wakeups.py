"""Nudges: queue messages that say "look". Hints, never the truth: each may be lost, repeated or late.

A nudge names a shard and a moment, the due time of an alarm rounded up to the second, because queue delays count in
seconds. It is parked for less than a minute or not sent: an invisible message makes the platform scale out, and a
later alarm is the heartbeat's.

A nudge that finds nothing due ends, so that those of many processes merge. Only the heartbeat's goes on until the next
heartbeat: a lease mostly goes before it rings, and the one behind it, of a process that has died, has no other nudge.
"""

import asyncio
from collections.abc import Callable

import orjson
from azure.core.exceptions import AzureError, ResourceExistsError
from azure.storage.queue.aio import QueueClient

from shared.core.errors import StoreUnavailable
from shared.telemetry.logs import logger

NUDGES = "nudges"
DELIVERIES = "deliveries"
RUNS = "runs"
REQUESTS = "requests"
INTERNAL = (NUDGES, DELIVERIES, RUNS, REQUESTS)
PARKED_MAX_S = 59
DEADLINE_S = 10.0
KEPT_S = 7 * 86_400

_log = logger(__name__)


class Nudges:
    """The queues that wake functions. Sending never raises: what was to be said is in the table."""

    def __init__(
        self, nudges: QueueClient, deliveries: QueueClient, runs: QueueClient, now_ms: Callable[[], int]
    ) -> None:
        self._nudges = nudges
        self._deliveries = deliveries
        self._runs = runs
        self._now_ms = now_ms
        self._sent: dict[tuple[str, int], int] = {}  # shard and second, and until when that one goes on

    async def prepare(self) -> None:
        """Create the queues that are not there."""
        for queue in (self._nudges, self._deliveries, self._runs):
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await queue.create_queue()
            except ResourceExistsError:
                continue
            except (AzureError, TimeoutError) as error:
                raise StoreUnavailable from error

    async def check(self) -> None:
        """Raise StoreUnavailable if a queue does not answer."""
        for queue in (self._nudges, self._deliveries, self._runs):
            try:
                async with asyncio.timeout(DEADLINE_S):
                    await queue.get_queue_properties()
            except (AzureError, TimeoutError) as error:
                raise StoreUnavailable from error

    async def aclose(self) -> None:
        """Close the connections."""
        for queue in (self._nudges, self._deliveries, self._runs):
            await queue.close()

    async def sweep(self, shard: str, due_ms: int, until_s: int = 0) -> None:
        """Ask for a sweep of the shard when an alarm of that time is due, if that is within a minute.

        Until `until_s`, it goes on to the shard's next alarm even where it finds nothing due.
        """
        at_s = -(-due_ms // 1000)
        delay_s = max(0, (at_s * 1000 - self._now_ms()) // 1000)
        if delay_s > PARKED_MAX_S or self._said(shard, at_s, until_s, delay_s):
            return
        goes_on = {"until": until_s} if until_s else {}
        if not await self._send(self._nudges, {"shard": shard, "at": at_s, **goes_on}, delay_s):
            self._sent.pop((shard, at_s), None)  # whoever asks next says it

    async def deliver(self, alarm_key: str) -> None:
        """Ask for a delivery now."""
        await self._send(self._deliveries, {"alarm": alarm_key}, 0)

    async def run(self, response_id: str, epoch: int) -> None:
        """Ask for a holder of the run, for that epoch and no other."""
        await self._send(self._runs, {"id": response_id, "epoch": epoch}, 0)

    def _said(self, shard: str, at_s: int, until_s: int, delay_s: int) -> bool:
        """Say whether this process has sent that nudge already, or one that goes on for longer.

        One for now is always sent: its like may be used up.
        """
        if delay_s < 1:
            return False
        if self._sent.get((shard, at_s), -1) >= until_s:
            return True
        self._sent[shard, at_s] = until_s
        while len(self._sent) > 2_000:
            del self._sent[next(iter(self._sent))]
        return False

    async def _send(self, queue: QueueClient, message: dict[str, object], delay_s: int) -> bool:
        try:
            async with asyncio.timeout(DEADLINE_S):
                await queue.send_message(
                    orjson.dumps(message).decode(), visibility_timeout=delay_s or None, time_to_live=KEPT_S
                )
        except (AzureError, TimeoutError) as error:
            _log.warning("nudge.lost", extra={"queue": queue.queue_name, "error": type(error).__name__})
            return False
        return True
