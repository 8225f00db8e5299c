"""The engine: what the triggers call. Joins the flows; each has a module of its own."""

import asyncio
import logging
from typing import Any

from shared import (
    cancelling,
    delivering,
    ids,
    packing,
    polling,
    purging,
    requests,
    running,
    starting,
    streaming,
    sweeping,
)
from shared.addresses import CallbackUrlRefused, check_url
from shared.callers import Caller
from shared.errors import BadRequest, NotFound, StoreError, Unavailable, UpstreamUnavailable
from shared.ids import derived_id, new_id
from shared.records import Record
from shared.replies import is_allowed
from shared.requests import NewResponse, Page
from shared.schedule import poll_delay
from shared.streaming import Stream
from shared.world import World

_log = logging.getLogger(__name__)


class Engine:
    """Everything the service does, for an authenticated caller or for itself. Raises ServiceError for callers."""

    def __init__(
        self,
        world: World,
        *,
        allow_loopback: bool = False,
        own_hosts: frozenset[str] = frozenset(),
        reply_queues: tuple[str, ...] = (),
    ) -> None:
        self._world = world
        self._own_hosts = own_hosts
        self._allow_loopback = allow_loopback
        self._reply_queues = reply_queues

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
            record = await self._started(record, request)
        if wait_s is None:
            wait_s = 0 if new.background else requests.FOREGROUND_WAIT_S
        shown = record, await polling.stored(self._world, record)
        return await self._waited(shown, wait_s - (asyncio.get_running_loop().time() - began_s))

    async def retrieve(self, caller: Caller, named: str, wait_s: float = 0) -> tuple[Record, bytes]:
        """Return a response by its id or a continuation token, waiting for its end as asked."""
        record = await self._own(caller, named)
        return await self._waited(await polling.look(self._world, record), wait_s)

    async def create_stream(self, caller: Caller, new: NewResponse, key: str | None) -> Stream:
        """Accept a response and return its stream, as server-sent events from the first on; key as for `create`."""
        record, request = await self._accepted(caller, new, key)
        if request is None:
            return Stream(self._world, record, -1)
        return await streaming.open_stream(self._world, record, request)

    async def stream(self, caller: Caller, named: str, starting_after: str | None, last_event_id: str | None) -> Stream:
        """Return the stream of a response above an event: what is logged of it, then what comes, up to its end."""
        record = await self._own(caller, named)
        if not record.stream:
            flag = "stream" if record.background else "background"
            raise BadRequest(
                f"This response cannot be streamed because it was not created with {flag}=true.", param="stream"
            )
        after = requests.cursor(ids.read_token(named) or ids.Cursor(record.id), starting_after, last_event_id)
        return Stream(self._world, record, after)

    async def cancel(self, caller: Caller, named: str) -> tuple[Record, bytes]:
        """Cancel a response, which reaches the upstream too."""
        record = await cancelling.cancel(self._world, await self._own(caller, named))
        return record, await polling.stored(self._world, record)

    async def delete(self, caller: Caller, named: str) -> str:
        """Delete an ended response; return its id."""
        record = await self._own(caller, named)
        await purging.delete(self._world, record)
        return record.id

    async def input_items(self, caller: Caller, named: str, page: Page) -> dict[str, Any]:
        """Return a page of the request's input."""
        record = await self._own(caller, named)
        packed = await self._world.store.request(record.id)
        items = requests.input_items(record.id, packing.unpack(packed)) if packed else []
        return requests.listed(items, page)

    async def deliveries(self, caller: Caller, named: str) -> dict[str, Any]:
        """Return how far each delivery of the terminal event is, with its attempts."""
        record = await self._own(caller, named)
        return {"object": "list", "data": await delivering.attempts(self._world, record)}

    # For the service itself

    async def sweep(self, shard: str, at_s: int) -> int:
        """Ring the due alarms of a shard; return how many."""
        return await sweeping.sweep(self._world, shard, at_s)

    async def run(self, response_id: str, epoch: int) -> None:
        """Drive the run that a message offers."""
        await running.run(self._world, response_id, epoch)

    async def heartbeat(self) -> None:
        """Nudge every shard that has something to do."""
        await sweeping.heartbeat(self._world)

    async def deliver(self, alarm_key: str) -> None:
        """Make the attempt that a message asks for."""
        await delivering.deliver(self._world, alarm_key)

    async def check(self) -> None:
        """Raise StoreUnavailable or Unavailable if table, queues or the upstream's credentials cannot be used."""
        await asyncio.gather(self._world.store.check(), self._world.nudges.check())
        try:
            await self._world.upstream.check()
        except UpstreamUnavailable as error:
            raise Unavailable("There is no credential for the upstream.") from error

    async def aclose(self) -> None:
        """Close every connection."""
        world = self._world
        for close in (world.store.aclose, world.nudges.aclose, world.upstream.aclose):
            await close()
        for sender in world.senders.values():
            await sender.aclose()

    # Steps

    async def _started(self, record: Record, request: dict[str, Any]) -> Record:
        if self._world.upstream.replays:
            return await starting.open_and_start(self._world, record, request)
        return (await starting.open_run(self._world, record, request, held=False)).record

    async def _accepted(
        self, caller: Caller, new: NewResponse, key: str | None
    ) -> tuple[Record, dict[str, Any] | None]:
        """Return the response to open, and what its upstream is sent.

        One whose first request was accepted is judged by no rule a second time: it comes as it is, without a request.
        """
        response_id = derived_id(caller.name.encode(), key.encode(), new.raw) if key else new_id()
        try:
            self._check_targets(caller, new)
            previous = await self._previous(caller, new.previous) if new.previous else None
        except BadRequest:
            if key and (first := await starting.join(self._world, response_id)):
                return first, None
            raise
        record = self._opened(response_id, caller, new, previous.id if previous else None)
        theirs = previous.upstream_id if previous else None
        return record, new.for_upstream(theirs, in_background=self._world.upstream.replays)

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
                raise _not_found(shown[0].id)
            return await polling.look(self._world, current)
        except StoreError as error:
            _log.warning("wait.deferred", extra={"response": shown[0].id, "error": type(error).__name__})
            return shown

    async def _own(self, caller: Caller, named: str) -> Record:
        """Return a caller's response; another's does not exist, nor does a deleted one."""
        cursor = ids.read_token(named)
        record = await self._world.store.read(cursor.id) if cursor else None
        if record is None or record.caller != caller.name or record.deleted:
            raise _not_found(named)
        return record

    async def _previous(self, caller: Caller, named: str) -> Record:
        """Return the response that a new one continues; raise BadRequest if it cannot be continued."""
        try:
            record = await self._own(caller, named)
        except NotFound:
            raise BadRequest(
                f"Previous response with id '{named[:100]}' not found.",
                param="previous_response_id",
                code="previous_response_not_found",
            ) from None
        if not record.status.is_terminal:
            raise BadRequest(
                f"Previous response with id '{record.id}' is still {record.status}; wait for its end, or cancel it.",
                param="previous_response_id",
                code="previous_response_not_finished",
            )
        if record.upstream_id is None:
            raise BadRequest(
                f"Previous response with id '{record.id}' never reached the upstream and cannot be continued.",
                param="previous_response_id",
                code="previous_response_not_found",
            )
        return record

    def _check_targets(self, caller: Caller, new: NewResponse) -> None:
        if new.callback_url is not None:
            self._check_callback(caller, new.callback_url)
        if new.reply_to is not None and not is_allowed(new.reply_to, self._reply_queues):
            raise BadRequest(
                "'reply_to' names a queue that is not allowed.", param="reply_to", code="queue_not_allowed"
            )

    def _check_callback(self, caller: Caller, url: str) -> None:
        if not caller.secrets:
            raise BadRequest(
                "Callbacks are signed, and no signing secret is configured for this caller.",
                param="callback_url",
                code="callback_url_unsigned",
            )
        try:
            check_url(
                url,
                hosts=caller.callback_hosts,
                refused_hosts=self._own_hosts,
                allow_loopback=self._allow_loopback,
            )
        except CallbackUrlRefused as refused:
            raise BadRequest(str(refused), param="callback_url", code=refused.code) from None

    def _opened(self, response_id: str, caller: Caller, new: NewResponse, previous: str | None) -> Record:
        now_ms = self._world.now_ms()
        return Record(
            response_id,
            caller.name,
            created_ms=now_ms,
            deadline_ms=now_ms + self._world.limits.deadline_ms,
            background=new.background,
            store=new.store,
            stream=new.stream,
            model=new.model,
            metadata=new.metadata,
            previous=previous,
            callback_url=new.callback_url,
            reply_to=new.reply_to,
        )


def _not_found(named: str) -> NotFound:
    return NotFound(f"Response with id '{named[:100]}' not found.")
