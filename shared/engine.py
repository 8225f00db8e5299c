"""The engine: what the triggers call. Joins the flows; each has a module of its own."""

import asyncio
from collections.abc import Mapping
from typing import Any

from shared.contract import pages, requests
from shared.contract.callers import Caller
from shared.contract.pages import Page
from shared.contract.requests import NewResponse
from shared.core import blobs, ids
from shared.core.backoff import poll_delay
from shared.core.errors import BadRequest, StoreError, Unavailable, UpstreamUnavailable
from shared.core.ids import derived_id, new_id
from shared.core.records import Record
from shared.deliveries import attempts, redelivery
from shared.lifecycle import admission, cancellation, polling, queue_intake, retention, submission, upstream_webhooks
from shared.lifecycle.queue_intake import Message
from shared.runs import runner, streams
from shared.runs.streams import Stream
from shared.runtime.ports import World
from shared.scheduler import dead_letters, sweeps
from shared.telemetry.logs import logger

_log = logger(__name__)


class Engine:
    """Everything the service does, for an authenticated caller or for itself. Raises ServiceError for callers."""

    def __init__(self, world: World) -> None:
        self._world = world

    # For callers

    async def create(
        self, caller: Caller, new: NewResponse, key: str | None, wait_s: float | None
    ) -> tuple[Record, bytes]:
        """Accept a response and start it; wait for its end as asked, 200 s where it is not background work.

        Returns the record and the response object as JSON. With an idempotency key, the same caller, key and body
        name the same response.
        """
        began_s = asyncio.get_running_loop().time()
        record, request = await self._accepted(caller, new, key)
        if request is not None:
            record = await submission.accept(self._world, record, request)
        if wait_s is None:
            wait_s = 0 if new.background else requests.FOREGROUND_WAIT_S
        shown = record, await polling.stored(self._world, record)
        return await self._waited(shown, wait_s - (asyncio.get_running_loop().time() - began_s))

    async def retrieve(self, caller: Caller, named: str, wait_s: float = 0) -> tuple[Record, bytes]:
        """Return a response by its id or a continuation token, waiting for its end as asked."""
        record = await admission.own(self._world, caller, named)
        return await self._waited(await polling.look(self._world, record), wait_s)

    async def create_stream(self, caller: Caller, new: NewResponse, key: str | None) -> Stream:
        """Accept a response and return its stream, as server-sent events from the first on; key as for `create`."""
        record, request = await self._accepted(caller, new, key)
        if request is None:
            return Stream(self._world, record, -1)
        return await streams.open_stream(self._world, record, request)

    async def stream(self, caller: Caller, named: str, starting_after: str | None, last_event_id: str | None) -> Stream:
        """Return the stream of a response above an event: what is logged of it, then what comes, up to its end."""
        record = await admission.own(self._world, caller, named)
        if not record.stream:
            flag = "stream" if record.background else "background"
            raise BadRequest(
                f"This response cannot be streamed because it was not created with {flag}=true.", param="stream"
            )
        after = requests.cursor(ids.read_token(named) or ids.Cursor(record.id), starting_after, last_event_id)
        return Stream(self._world, record, after)

    async def cancel(self, caller: Caller, named: str) -> tuple[Record, bytes]:
        """Cancel a response, which reaches the upstream too."""
        record = await cancellation.cancel(self._world, await admission.own(self._world, caller, named))
        return record, await polling.stored(self._world, record)

    async def delete(self, caller: Caller, named: str) -> str:
        """Delete an ended response; return its id."""
        record = await admission.own(self._world, caller, named)
        await retention.delete(self._world, record)
        return record.id

    async def input_items(self, caller: Caller, named: str, page: Page) -> dict[str, Any]:
        """Return a page of the request's input."""
        record = await admission.own(self._world, caller, named)
        packed = await self._world.store.request(record.id)
        items = pages.input_items(record.id, blobs.unpack(packed)) if packed else []
        return pages.listed(items, page)

    async def deliveries(self, caller: Caller, named: str) -> dict[str, Any]:
        """Return how far each delivery of the terminal event is, with its attempts."""
        return await self._deliveries(await admission.own(self._world, caller, named))

    async def redeliver(self, caller: Caller, named: str, target: str | None) -> dict[str, Any]:
        """Begin the deliveries of a response again, or that to one target; return how far they are."""
        record = await admission.own(self._world, caller, named)
        return await self._deliveries(await redelivery.redeliver(self._world, record, target))

    async def recover(self, caller: Caller, since_ms: int) -> dict[str, Any]:
        """Begin every delivery of the caller again that has failed since then."""
        recovery = await redelivery.recover(self._world, caller.name, since_ms)
        return {"object": "delivery.recovery", "recovered": recovery.recovered, "has_more": recovery.has_more}

    async def _deliveries(self, record: Record) -> dict[str, Any]:
        return {"object": "list", "data": await redelivery.listed(self._world, record)}

    # For the service itself

    async def sweep(self, shard: str, at_s: int, until_s: int = 0) -> int:
        """Ring the due alarms of a shard; return how many."""
        return await sweeps.sweep(self._world, shard, at_s, until_s)

    async def run(self, response_id: str, epoch: int) -> None:
        """Drive the run that a message offers."""
        await runner.run(self._world, response_id, epoch)

    async def heartbeat(self) -> None:
        """Nudge every shard that has something to do."""
        await sweeps.heartbeat(self._world)

    async def deliver(self, alarm_key: str) -> None:
        """Make the attempt that a message asks for."""
        await attempts.deliver(self._world, alarm_key)

    async def take_request(self, message: Message) -> None:
        """Start what a message of the `requests` queue asks for."""
        await queue_intake.take(self._world, message)

    async def put_back(self, message: Message) -> None:
        """Send a message of that queue to its end: it cannot be taken now."""
        await queue_intake.put_back(self._world, message)

    async def hear_upstream(self, headers: Mapping[str, str], body: bytes) -> None:
        """Look at the response whose end the upstream tells of; raise Unauthorized if it is not the upstream's word."""
        await upstream_webhooks.hear(self._world, headers, body)

    async def tend_poison(self) -> None:
        """See to every message that a trigger could not handle."""
        await dead_letters.tend(self._world)

    async def check(self) -> None:
        """Raise StoreUnavailable or Unavailable if table, queues or the upstream's credentials cannot be used."""
        await asyncio.gather(self._world.store.check(), self._world.nudges.check())
        try:
            await self._world.upstreams.default.check()
        except UpstreamUnavailable as error:
            raise Unavailable("There is no credential for the upstream.") from error

    async def aclose(self) -> None:
        """Close every connection."""
        world = self._world
        for close in (world.store.aclose, world.nudges.aclose, world.upstreams.aclose):
            await close()
        for sender in world.senders.values():
            await sender.aclose()

    # Steps

    async def _accepted(
        self, caller: Caller, new: NewResponse, key: str | None
    ) -> tuple[Record, dict[str, Any] | None]:
        response_id = derived_id(caller.name.encode(), key.encode(), new.raw) if key else new_id()
        return await admission.admit(self._world, caller, new, response_id, is_repeatable=key is not None)

    async def _waited(self, shown: tuple[Record, bytes], wait_s: float) -> tuple[Record, bytes]:
        """Return the response, looking again until it has ended or the time is over."""
        loop = asyncio.get_running_loop()
        until = loop.time() + wait_s
        while not shown[0].status.is_terminal and (left_s := until - loop.time()) > 0:
            age_ms = self._world.now_ms() - shown[0].created_ms
            await self._world.sleep(min(left_s, poll_delay(age_ms, self._world.dice) / 1000))
            shown = await self._again(shown)
        return shown

    async def _again(self, shown: tuple[Record, bytes]) -> tuple[Record, bytes]:
        """Return the response as it is now; as it was last seen while storage does not answer: it is accepted."""
        try:
            current = await self._world.store.read(shown[0].id)
            if current is None or current.deleted:
                raise admission.not_found(shown[0].id)
            return await polling.look(self._world, current)
        except StoreError as error:
            _log.warning("wait.deferred", extra={"response": shown[0].id, "error": type(error).__name__})
            return shown
