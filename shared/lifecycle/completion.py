"""Completion: ends a response. All ends take this path: the upstream's, a cancel, a deadline and a fault."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any
from uuid import uuid4

from shared import off_loop
from shared.contract import output_items, redaction
from shared.contract.output_items import OutputItems
from shared.core import blobs, event_log
from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet, Row
from shared.core.errors import StoreRefused
from shared.core.records import Record
from shared.deliveries import first_attempts
from shared.lifecycle import echoes, endings
from shared.lifecycle.endings import Outcome
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import apply, end_turn
from shared.telemetry.logs import logger
from shared.transitions import response_transitions
from shared.transitions.response_transitions import Ending

_log = logger(__name__)

MANY_CREDENTIALS = 100  # for which a small value is looked through for long, too


@dataclass(frozen=True, slots=True)
class Holder:
    """The holder of a run that ends its response, which it may do only while the run has this `epoch`.

    `items` are those of its stream. `before` is a transition that is written in the same transaction as the end, before
    it. It may only change the record and add rows, and it is pure. `write_ids` are those of its tries to end the
    response, of which the last one may have succeeded without an answer. Each try adds one.
    """

    epoch: int | None = None
    items: OutputItems | None = None
    before: Callable[[Record], ChangeSet | None] | None = None
    write_ids: set[str] = field(default_factory=set)

    def may_end(self, current: Record) -> bool:
        """Return whether the response has not ended, and its run has the epoch."""
        return not current.status.is_terminal and self.epoch in (None, current.run.epoch)

    def first(self, current: Record) -> tuple[Record, tuple[Row, ...]]:
        """Return the record that the end follows, and the rows that are written before it."""
        change = self.before(current) if self.before else None
        return (change.record, change.rows) if change else (current, ())


async def end(
    ports: Ports,
    record: Record | None,
    response_id: str,
    outcome: Outcome,
    held: Alarm | None = None,
    holder: Holder | None = None,
) -> Record | None:
    """End a response unless it has ended. Return its record as it then is, or None if it does not exist.

    If storage refuses this end, and would refuse it again, the response fails with `internal_error` instead.

    `record` is the record as last read, or None if it was not read. `holder` is given if the holder of its run ends it.
    The alarm `held`, which the caller owns, is removed in the same transaction, also if the response had ended before.
    The deliveries that the end claims are begun. If the outcome has no output, it gets the items of the stream: those
    of the holder, or else those in the event log.

    If this process watches the response, this goes through the watch: one end at a time, with the record that the watch
    has and the lease in the same transaction. Whoever waits for the watch is told the end.
    """
    watch, holder = ports.watches.of(response_id), holder or Holder()
    if watch is None:
        ended, is_ours = await _end_or_fail(ports, record, response_id, outcome, held, holder)
    else:
        async with watch.lease.writing:
            if watch.is_over and watch.record.status.is_terminal:
                return watch.record
            held = held or watch.lease.alarm  # if that is gone, the end is written without it
            holder = replace(holder, write_ids=watch.write_ids)
            ended, is_ours = await _end_or_fail(ports, record or watch.record, response_id, outcome, held, holder)
            watch.conclude(ended)
    if ended and is_ours:
        first_attempts.begin(ports, ended)
    return ended


async def _end_or_fail(
    ports: Ports, record: Record | None, response_id: str, outcome: Outcome, held: Alarm | None, holder: Holder
) -> tuple[Record | None, bool]:
    try:
        return await _end(ports, record, response_id, outcome, held, holder)
    except StoreRefused:
        _log.error("end.unstorable", extra={"response": response_id})
        plain, bare = endings.internal_error(ports.clock.now_ms()), replace(holder, items=None, before=None)
        return await _end(ports, record, response_id, plain, held, bare)


async def _end(
    ports: Ports,
    record: Record | None,
    response_id: str,
    outcome: Outcome,
    held: Alarm | None,
    holder: Holder,
) -> tuple[Record | None, bool]:
    """Return the record as it then is, and whether this call has ended it, or an earlier try whose answer was lost."""
    earlier = frozenset(holder.write_ids)
    holder.write_ids.add(write_id := uuid4().hex)
    record = record or await ports.store.read(response_id)
    if record and outcome.reads_body and not record.status.is_terminal:
        record = await with_object(ports, record)
        if endings.lacks_output(outcome):
            items = holder.items or await _logged_items(ports, record)
            outcome = await off_loop.run(items.text_size, endings.with_items, outcome, items)
        answer = await masked(dict(outcome.answer), await credentials_of(ports, record))
        outcome = replace(outcome, answer=answer)

    prepared = None
    if record and holder.may_end(record):
        prepared = await _prepared(record, outcome, holder)

    def transition(current: Record) -> tuple[ChangeSet | None, bool]:
        if not holder.may_end(current):
            return None, False
        last, rows = holder.first(current)
        ending = prepared if prepared and current is record else endings.ending_of(last, outcome)
        if endings.lost_session(outcome, ending):
            _log.warning("legacy.too_large", extra={"response": current.id})
        firsts = first_attempts.plan(ports, last, ending.status)
        retention_ms = ports.config.limits.retention_ms
        change = response_transitions.end(last, ending, ports.clock.now_ms(), retention_ms, firsts)
        return replace(change, rows=(*rows, *change.rows)), True

    ended, is_ours = await apply(ports, record, response_id, transition, held, write_id)
    is_of_earlier = not is_ours and ended is not None and ended.write_id in earlier
    if ended and is_of_earlier and not (outcome.stop and ended.upstream.token):
        await end_turn(ports, ended)  # the answer to that try was lost, and nothing is still to be stopped
    return ended, bool(is_ours) or is_of_earlier


async def _prepared(record: Record, outcome: Outcome, holder: Holder) -> Ending:
    """Return how a record ends that nobody has changed since it was read."""
    last, _ = holder.first(record)
    return await off_loop.run_on_both(outcome.answer, last.body, endings.ending_of, last, outcome)


def known_of(record: Record, request: Mapping[str, Any]) -> tuple[dict[str, Any], frozenset[str]]:
    """Return what is known of the response object, and the credentials of the request. A large one takes long."""
    return endings.known_object(endings.echoing(record, request)), given_credentials(record, request)


async def credentials_in(record: Record, request: Mapping[str, Any]) -> frozenset[str]:
    """Return what `given_credentials` returns. A large request that has some is looked through in a thread."""
    if not _may_have_credentials(record):
        return frozenset()
    return await off_loop.run_on(request, given_credentials, record, request)


def given_credentials(record: Record, request: Mapping[str, Any]) -> frozenset[str]:
    """Return the credentials of the request of a response. Most have none, and are not looked through."""
    return redaction.credentials_in(request) if _may_have_credentials(record) else frozenset()


def _may_have_credentials(record: Record) -> bool:
    """Return whether a request may have credentials. An older version did not note whether it has some."""
    return record.request.has_credentials or not record.request.masked


async def masked(said: dict[str, Any], credentials: frozenset[str]) -> dict[str, Any]:
    """Return what an upstream has said, without the credentials of the request. Large values are done in a thread."""
    found: dict[str, Any] = said
    if len(credentials) > MANY_CREDENTIALS:
        found = await off_loop.run(off_loop.LARGE + 1, echoes.masked_echo, said, credentials)
    elif credentials:
        found = await off_loop.run_on(said, echoes.masked_echo, said, credentials)
    return found


async def credentials_of(ports: Ports, record: Record) -> frozenset[str]:
    """Return the credentials of the request of a response. Most have none, and are not read."""
    packed = await ports.store.request(record.id) if _may_have_credentials(record) else None
    if not packed:
        return frozenset()
    return await off_loop.run_packed(packed, lambda: redaction.credentials_in(blobs.unpack(packed)))


async def _logged_items(ports: Ports, record: Record) -> OutputItems:
    """Return the finished items in the event log since its last restart. A response without a stream has none."""
    items = OutputItems()
    is_full = record.request.stream and record.log.next_seq > 1
    key = event_log.batch_key_before(record.id, record.log.valid_from - 1)
    while is_full:
        page = await ports.store.log(record.id, key)
        for batch in page.batches:
            skipped = 0 if batch.ends else max(0, record.log.valid_from - batch.first)
            events = () if batch.ends else await off_loop.run_packed(batch.packed, lambda one: one.events, batch)
            for event in events[skipped:]:
                items.take(await off_loop.run(len(event.body), output_items.told_by, event))
            key = batch.next_key
        is_full = page.is_full
    return items


async def with_object(ports: Ports, record: Record) -> Record:
    """Return the record with a response object.

    If it has none, or if the object was too large to be kept before it was final, the object is made from the request.
    """
    if record.body or record.status.is_terminal:
        return record
    packed = await ports.store.request(record.id)
    if packed is None:
        return record
    return await off_loop.run_packed(packed, lambda: endings.echoing(record, blobs.unpack(packed)))
