"""The engine: everything that the triggers call. It joins the flows, and each flow has its own module."""

import asyncio
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

from shared import off_loop
from shared.contract import pages, parameters
from shared.contract.callers import Caller
from shared.contract.pages import ItemList, Page
from shared.contract.requests import NewResponse
from shared.core import blobs, ids
from shared.core.erasures import Wanted
from shared.core.errors import BadRequest, StoreIncomplete
from shared.core.ids import derived_id, new_id
from shared.core.records import Record
from shared.deliveries import delivery_log, redelivery
from shared.deliveries.delivery_log import DeliveryList
from shared.deliveries.redelivery import RecoveryView
from shared.erasure import erasing
from shared.erasure.orders import Receipt
from shared.foreground.call import Call
from shared.foreground.call_stream import CallStream, Chunks
from shared.foreground.clients import Client
from shared.foreground.opening import open_call
from shared.lifecycle import cancellation, ownership, polling, retention, upstream_webhooks, waiting
from shared.lifecycle.waiting import Shown
from shared.lists.lists import Lists
from shared.lists.queries import RecoveryQuery
from shared.operators.operators import Operators
from shared.relayed import conversations, models, requests
from shared.relayed.conversations import ConversationCall
from shared.runs import runner, streams
from shared.runs.streams import Stream
from shared.runtime.ports import Ports
from shared.runtime.quotas import Quotas
from shared.scheduler import dead_letters, rounds, sweeps, upstream_health
from shared.scheduler.heartbeat import Heartbeats
from shared.starts import admission, grants, queue_intake, submission, withdrawal
from shared.starts.queue_intake import QueueMessage
from shared.storage.messages import RunOffer, Wakeup
from shared.upstreams.health import Sight


class Engine:
    """Everything that the service does, for an authenticated caller or for itself.

    `named` is the id of a response or a continuation token. A response of another caller raises NotFound, as if it did
    not exist. Methods for callers raise a ServiceError with the answer for the caller, and StoreError if storage fails.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        ports.gates.listen(grants.listeners(ports))
        self._heartbeats = Heartbeats(ports)
        self.quotas = Quotas(ports.clock.elapsed_s)
        self.entrance = ports.entrance
        self.lists = Lists(ports)
        self.operators = Operators(ports)

    # For callers

    async def create(self, caller: Caller, new: NewResponse, key: str | None, wait_s: float = 0) -> Shown:
        """Accept a response, start it, and return it as it is when it has ended, or after `wait_s` seconds.

        It is returned as the record, and the response object as JSON text. With an idempotency key, requests with the
        same caller, key and body get the same response. Raises RefusedByUpstream if the upstream refuses the request
        before the answer.
        """
        ports, began_s = self._ports, self._ports.clock.elapsed_s()
        record, request = await self._admit(caller, new, key)
        with ports.watches.waiting(record.id) if wait_s > 0 else nullcontext():
            if request is not None:
                record = await submission.submit(ports, record, request)
            ports.entrance.leave()
            shown = record, await polling.stored_object(ports, record)
            record, body = await waiting.until_ended(ports, shown, wait_s - (ports.clock.elapsed_s() - began_s))
        return record if new.background else await withdrawal.before_answer(ports, record), body

    async def call(self, caller: Caller, new: NewResponse, key: str | None, client: Client) -> Call:
        """Accept a response and start it, and return the call that waits for its end. The key is as in `create`."""
        client = client.of(caller)
        opened = await open_call(self._ports, caller, new, key, client)
        return Call(self._ports, opened.record, opened.request, len(new.raw), client, opened.leaving)

    async def retrieve(self, caller: Caller, named: str, wait_s: float = 0, include: tuple[str, ...] = ()) -> Shown:
        """Return a response after waiting up to `wait_s` seconds for its end.

        It is returned as the record, and the response object as JSON text. The upstream is asked for what `include`
        names, beside what the request asked for.
        """
        record = await ownership.own(self._ports, caller, named)
        shown = await polling.look(self._ports, record, include)
        return await waiting.until_ended(self._ports, shown, wait_s, include)

    async def create_stream(self, caller: Caller, new: NewResponse, key: str | None, client: Client) -> Chunks:
        """Accept a response and return its stream from the first event on. The key is as in `create`.

        A repeat of a foreground call joins the work of the POST that it repeats.
        """
        if new.background:
            return await self._stream_of(*await self._admit(caller, new, key), len(new.raw))
        opened = await open_call(self._ports, caller, new, key, client)
        stream = await self._stream_of(opened.record, opened.request, len(new.raw))
        return CallStream(self._ports, stream, opened.leaving)

    async def _stream_of(self, record: Record, request: dict[str, Any] | None, size: int) -> Stream:
        if request is None:
            self._ports.entrance.leave()
            return Stream(self._ports, record, -1)
        return await streams.open_stream(self._ports, record, request, size)

    async def stream(self, caller: Caller, named: str, starting_after: str | None, last_event_id: str | None) -> Stream:
        """Return the stream of a response after the event that a reader has seen last.

        `starting_after` and `last_event_id` are the parameter and the header, as `parameters.last_seen` reads them.
        Raises BadRequest if one of them is wrong, or if the response was not created as a stream.
        """
        record = await ownership.own(self._ports, caller, named)
        if not record.request.stream:
            flag = "stream" if record.request.background else "background"
            raise BadRequest(
                f"This response cannot be streamed because it was not created with {flag}=true.", param="stream"
            )
        after = parameters.last_seen(ids.read_token(named) or ids.Cursor(record.id), starting_after, last_event_id)
        return Stream(self._ports, record, after)

    async def cancel(self, caller: Caller, named: str) -> Shown:
        """Cancel a response and its work upstream. Return the record, and the response object as JSON text."""
        record = await cancellation.cancel(self._ports, await ownership.own(self._ports, caller, named))
        return record, await polling.stored_object(self._ports, record)

    async def erase(self, caller: Caller, wanted: Wanted) -> Receipt:
        """Order the erasure of the caller's responses that are wanted, and return its receipt."""
        return await erasing.order(self._ports, caller, caller.name, wanted)

    async def erasure(self, caller: Caller, named: str) -> Receipt:
        """Return the receipt of an erasure that the caller has ordered."""
        return await erasing.read(self._ports, caller, named)

    async def delete(self, caller: Caller, named: str) -> str:
        """Delete an ended response and return its id. Raise BadRequest if it has not ended."""
        record = await ownership.own(self._ports, caller, named)
        await retention.delete(self._ports, record)
        return record.id

    async def input_items(self, caller: Caller, named: str, page: Page) -> ItemList:
        """Return a page of the request's input items."""
        record = await ownership.own(self._ports, caller, named)
        packed = await self._ports.store.request(record.id)
        if not packed:
            return pages.page_of([], page)
        return await off_loop.run_packed(
            packed, lambda: pages.page_of(pages.input_items(record.id, blobs.unpack(packed)), page)
        )

    async def models(self) -> dict[str, Any]:
        """Return the list of models: those of the upstreams, and the agents of the deployment."""
        return await models.models(self._ports)

    async def model(self, name: str) -> dict[str, Any]:
        """Return one model. Raise NotFound or the upstream's refusal if there is none."""
        return await models.model(self._ports, name)

    async def input_tokens(self, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
        """Return how many tokens a request would have. Raises NotFound for what it names and another caller owns."""
        return await requests.input_tokens(self._ports, caller, body)

    async def compact(self, caller: Caller, body: dict[str, Any]) -> dict[str, Any]:
        """Return a conversation in fewer tokens. Raises as `input_tokens`."""
        return await requests.compact(self._ports, caller, body)

    async def create_conversation(self, caller: Caller, body: dict[str, Any], model: str | None) -> dict[str, Any]:
        """Make a conversation that belongs to the caller, and return it. `model` says at which upstream."""
        return await conversations.create_conversation(self._ports, caller, body, model)

    async def on_conversation(self, caller: Caller, call: ConversationCall) -> dict[str, Any]:
        """Pass a call about a conversation on. Raises NotFound unless the caller owns it."""
        return await conversations.on_conversation(self._ports, caller, call)

    async def deliveries(self, caller: Caller, named: str) -> DeliveryList:
        """Return the state of each delivery of the terminal event, with its attempts."""
        return await self._deliveries(await ownership.own(self._ports, caller, named))

    async def redeliver(self, caller: Caller, named: str, target: str | None) -> DeliveryList:
        """Begin the deliveries of a response again, or only the one to `target`, and return their state.

        Raises BadRequest as `redelivery.redeliver` does.
        """
        record = await ownership.own(self._ports, caller, named)
        return await self._deliveries(await redelivery.redeliver(self._ports, record, target))

    async def recover(self, caller: Caller, query: RecoveryQuery) -> RecoveryView:
        """Begin the caller's deliveries again that failed or were blocked, or only count them.

        One call works for at most 20 s. Call again while `has_more` is true.
        """
        recovery = await redelivery.recover(self._ports, caller.name, query)
        return {
            "object": "delivery.recovery",
            "recovered": recovery.recovered,
            "has_more": recovery.has_more,
            "dry_run": query.dry_run,
        }

    async def _deliveries(self, record: Record) -> DeliveryList:
        return {"object": "list", "data": await delivery_log.deliveries_of(self._ports, record)}

    # For the service itself

    async def sweep(self, wakeup: Wakeup) -> int:
        """Act on the due alarms of the shards that a wake-up names, and return how many there were.

        A process that may not work between its invocations has no timers. So the rounds of gates run here.
        """
        acted = await sweeps.sweep_shards(self._ports, wakeup)
        if grants.SHARD in wakeup.shards and not self._ports.config.limits.watch:
            await rounds.run_rounds(self._ports)
        return acted

    async def drive(self, offer: RunOffer) -> None:
        """Drive the run that a message offers."""
        await runner.drive_offered_run(self._ports, offer.id, offer.epoch)

    async def heartbeat(self) -> None:
        """Wake every shard that has something to do, and create our table and queues that do not exist."""
        await self._heartbeats.run()

    def accompany_invocation(self) -> asyncio.Task[None] | None:
        """Start a heartbeat beside an invocation, if this process has had none for a minute. Raises nothing.

        Returns the heartbeat that is started or running, or None.
        """
        return self._heartbeats.accompany()

    async def take_request(self, message: QueueMessage, *, is_last: bool = False) -> None:
        """Start the response that a message of the `requests` queue asks for. Raise StoreError if storage fails.

        If the platform would not try again (`is_last`), the message goes to the end of its queue.
        """
        await queue_intake.take(self._ports, message, is_last=is_last)

    def expect_webhook(self, headers: Mapping[str, str]) -> None:
        """Raise NotFound or Unauthorized if a webhook of the upstream need not be read. See `receive_webhook`."""
        upstream_webhooks.expect(self._ports, headers)

    async def receive_webhook(self, headers: Mapping[str, str], body: bytes) -> None:
        """Poll the response whose end the upstream announces. Raise Unauthorized if the signature is not its own.

        Raises NotFound and Unavailable as `upstream_webhooks.receive` does.
        """
        await upstream_webhooks.receive(self._ports, headers, body)

    def upstreams(self) -> dict[str, Sight]:
        """Return how each upstream of the settings was last seen, by its name. Nothing is read."""
        return upstream_health.sights(self._ports)

    async def drain_dead_letters(self) -> None:
        """Handle the messages that no trigger could handle."""
        await dead_letters.drain(self._ports)

    async def check(self) -> None:
        """Raise StoreUnavailable if the table or a queue does not answer, and StoreIncomplete if one does not exist.

        Raises Unavailable if there are no credentials for any upstream.
        """
        ports = self._ports
        tables, hints, requests = await asyncio.gather(
            ports.store.missing(), ports.wakeups.missing(), ports.requests.missing()
        )
        missing = [f"table {name}" for name in tables] + [f"queue {name}" for name in hints + requests]
        if missing:
            raise StoreIncomplete(missing)
        await upstream_health.check_credentials(ports)

    async def aclose(self) -> None:
        """Close every connection."""
        ports = self._ports
        for close in (ports.store.aclose, ports.wakeups.aclose, ports.upstreams.aclose):
            await close()
        for sender in ports.senders.values():
            await sender.aclose()

    # Steps

    async def _admit(self, caller: Caller, new: NewResponse, key: str | None) -> tuple[Record, dict[str, Any] | None]:
        response_id = derived_id(caller.name.encode(), key.encode(), new.raw) if key else new_id()
        return await admission.admit(self._ports, caller, new, response_id, is_repeatable=key is not None)
