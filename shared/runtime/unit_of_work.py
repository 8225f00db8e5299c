"""The unit of work: read a record, decide, write. If another write came first, start over (optimistic locking)."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from typing import Any, TypeVar

from shared.core import ids, keys
from shared.core.alarms import Alarm, Kind
from shared.core.backoff import before_deadline
from shared.core.changesets import ChangeSet
from shared.core.entries import Listing
from shared.core.errors import Conflict, StoreError, StoreUnavailable, UpstreamError
from shared.core.gates.state import Gate, place_of
from shared.core.ids import shard_of
from shared.core.records import Record
from shared.runtime.ports import Ports
from shared.runtime.quotas import TooManyRequests
from shared.telemetry import lifecycle
from shared.telemetry.logs import logger
from shared.transitions import listing, upstream_transitions
from shared.upstreams import tries

_log = logger(__name__)
_TRIES = 10
_OVERDUE_MS = 86_400_000  # how long after its deadline a response may wait for its end, if storage is away
_NOT_ACCEPTED = (
    "Storage is not available, and this request was not accepted. Send it again. With an 'Idempotency-Key' header it "
    "starts one response, however often it is sent."
)
R = TypeVar("R")

Transition = Callable[[Record], ChangeSet | None]
"""Takes a record as it is now, and returns what to write, or None for nothing."""

TransitionWithResult = Callable[[Record], tuple[ChangeSet | None, R]]
"""A transition that also returns a result to its caller."""


async def update(
    ports: Ports,
    record: Record | None,
    response_id: str,
    transition: Transition,
    held: Alarm | None = None,
    write_id: str = "",
) -> Record | None:
    """Apply a transition that has no result, and return the record. See `apply`."""
    record, _ = await apply(ports, record, response_id, lambda current: (transition(current), None), held, write_id)
    return record


async def apply(
    ports: Ports,
    record: Record | None,
    response_id: str,
    transition: TransitionWithResult[R],
    held: Alarm | None = None,
    write_id: str = "",
) -> tuple[Record | None, R | None]:
    """Write what the transition decides about a record. If another write came first, read and decide again.

    `record` is the record as last read, or None if it was not read. `held` is an alarm that the caller owns. It is
    removed in the same transaction, or alone if there is nothing to write. Returns the record as it then is and the
    transition's last result, or None and None if the record does not exist. `write_id`, if it is given, is that of the
    record if this writes it.

    Raises Conflict if another row that was to be removed is gone while the record is unchanged, or after ten tries.
    """
    for _ in range(_TRIES):
        record = record or await ports.store.read(response_id)
        change, result = transition(record) if record else (None, None)
        if change is None:
            if held:
                await ports.store.remove(held)
            return record, result
        try:
            return await commit(ports, record, change.removing(held), write_id), result
        except Conflict as conflict:
            if conflict.gone and not (held and conflict.gone == held.key):
                raise
            held = None if conflict.gone else held  # its new owner will find the record as it is now
            record = None
    raise Conflict


async def commit(ports: Ports, before: Record | None, change: ChangeSet, write_id: str = "") -> Record:
    """Write a change set, tell the watch of its response, emit its telemetry, and send the messages that it asks for.

    `before` is the record that it was decided from, or None for a new response. Returns the record as written. Raises
    as `Store.commit` does.
    """
    change = listing.listed(before, change)
    record = await ports.store.commit(change, write_id)
    ports.watches.note(record)
    _count(ports, before, record)
    if before and record.status.is_terminal and not before.status.is_terminal and _leaves_gate(before, change):
        await end_turn(ports, before)
    lifecycle.record_transition(before, change, ports.upstreams.of(record).upstream.operation)
    for alarm in change.wake_for:
        await ports.wakeups.sweep(shard_of(alarm.id), alarm.due_ms)
    if change.offers_run:
        await ports.wakeups.offer(record.id, record.run.epoch)
    return record


def _leaves_gate(before: Record, change: ChangeSet) -> bool:
    """Return whether a response that ends leaves its gate now. Work that is still to be stopped keeps its permit.

    What waits in a line has no permit, although an earlier try of it may have begun work.
    """
    return bool(before.wait.gate) or all(alarm.kind is not Kind.STOP for alarm in change.alarms_in)


async def end_turn(ports: Ports, record: Record) -> None:
    """Give back the permit of a response, or its place in a line. `record` is as it was before it ended.

    This goes on beside the caller, if the process may work between its invocations.
    """
    gate = ports.upstreams.gate_of(record)
    if gate is None or not ports.gates.may_have_given(gate):
        return
    leaving = _leave(ports, gate, record)
    if ports.config.limits.watch:
        ports.background.start(leaving, _log_unreturned)
    else:
        await leaving


async def _leave(ports: Ports, gate: Gate, record: Record) -> None:
    if record.wait.reason:
        await ports.gates.leave(gate, place_of(record))
        return
    try:
        await ports.gates.release(gate, record.id, record.caller)
    except StoreError as error:
        _log_unreturned(error)


def _log_unreturned(error: BaseException) -> None:
    """Log that a permit was not given back. A round of its gate finds it."""
    _log.warning("gate.permit_kept", extra={"reason": type(error).__name__})


@contextmanager
def before_accepting() -> Iterator[None]:
    """Let an outage say that a request was not accepted, in a block in which nothing of its response is written."""
    try:
        yield
    except StoreUnavailable as error:
        error.advice = _NOT_ACCEPTED
        raise


async def insert(ports: Ports, change: ChangeSet) -> Record:
    """Write the change set of a new response, if its caller may have one more that has not ended.

    The place at the entrance is left then. Raises TooManyRequests if the caller may not, Conflict if the response
    exists, and otherwise as `commit`. The advice of an outage tells if nothing can have been written.
    """
    with ExitStack() as unless_written:
        with ExitStack() as entering:
            entering.callback(ports.entrance.leave)
            with before_accepting():
                give_back = await _counted_in(ports, change.record)
            unless_written.callback(give_back)
            record = await _first_commit(ports, change)
        unless_written.pop_all()
    return record


async def _first_commit(ports: Ports, change: ChangeSet) -> Record:
    try:
        return await commit(ports, None, change)
    except StoreUnavailable as error:
        if not error.was_sent:
            error.advice = _NOT_ACCEPTED
        raise


async def _counted_in(ports: Ports, record: Record) -> Callable[[], None]:
    """Count a new response of a caller that may have only so many, and return what takes that back."""
    caller = ports.callers.named(record.caller)
    most = caller.limits.max_in_flight if caller else None
    if caller is None or most is None:
        return lambda: None
    try:
        return await ports.in_flight.take(caller.name, most, partial(_unfinished, ports, caller.name, most))
    except TooManyRequests:
        if await ports.store.read(record.id, with_body=False):
            raise Conflict from None
        raise


async def _unfinished(ports: Ports, caller: str, most: int) -> int:
    """Return how many responses of a caller have not ended. Of each shard, at most `most` are counted.

    An entry that is older than any response can be is not counted. Its response was purged by a release that knows no
    entries.
    """
    oldest_ms = ports.clock.now_ms() - ports.config.limits.deadline_ms - _OVERDUE_MS
    prefix = keys.entries_from(Listing.LIVE, ids.tag(caller))
    count = partial(ports.store.count, first=prefix, end=prefix + keys.entry_place(oldest_ms), most=most)
    return sum(await asyncio.gather(*map(count, ids.SHARDS)))


def _count(ports: Ports, before: Record | None, record: Record) -> None:
    if before is None:
        ports.rates.note("accepted", ports.clock.now_ms())
    if record.status.is_terminal and not (before and before.status.is_terminal):
        ports.rates.note(str(record.status), ports.clock.now_ms())


async def exchange(
    ports: Ports, record: Record | None, held: Alarm, transition: Transition
) -> tuple[Record | None, bool]:
    """Write a transition whose change set replaces an alarm that the caller owns.

    Returns the record as it is then, or None if it does not exist, and whether the transition was written. It is not if
    it returns None, or if the alarm is gone, because another process acts on it then. `record` is the record as last
    read, or None. Raises Conflict after ten tries.
    """
    for _ in range(_TRIES):
        record = record or await ports.store.read(held.id)
        change = transition(record) if record else None
        if change is None:
            return record, False
        try:
            return await commit(ports, record, change.removing(held)), True
        except Conflict as conflict:
            if conflict.gone:
                return record, False
            record = None
    raise Conflict


async def rearm(ports: Ports, alarm: Alarm, due_ms: int, **changes: Any) -> None:
    """Set an alarm that the caller owns to another time in unix milliseconds, and ask for a sweep then.

    `changes` are other attributes of the alarm. Its count of attempts becomes 0, unless `changes` has it.
    """
    following = _at(ports, alarm, due_ms, changes)
    if await ports.store.move(shard_of(alarm.id), [(alarm, following)]):
        await ports.wakeups.sweep(shard_of(alarm.id), following.due_ms)


async def put_off(
    ports: Ports, record: Record | None, alarm: Alarm, due_ms: int, error: UpstreamError | None, **changes: Any
) -> Record | None:
    """Do as `rearm`, and record what the response waits for after `error`, or that it waits for its work again.

    `record` is the record as last read, or None. Returns it as it is then, or None if it does not exist. If the alarm
    is gone, another process acts on it, and nothing is written. A poll of a response that has ended is over.
    """
    following = _at(ports, alarm, due_ms, changes)
    reason, detail = (error.waits_for, str(error)) if error else (None, "")
    may_have_begun = error is not None and tries.may_have_begun(error)

    def is_over(current: Record | None) -> bool:
        return current is None or (current.status.is_terminal and alarm.kind is Kind.POLL)

    def transition(current: Record) -> ChangeSet | None:
        if is_over(current):
            return None
        wait = current.wait.after(reason, detail, ports.clock.now_ms(), following.due_ms)
        return upstream_transitions.put_off(current, wait, following, may_have_begun=may_have_begun)

    record, _ = await exchange(ports, record, alarm, transition)
    if is_over(record):
        await ports.store.remove(alarm)
    return record


def _at(ports: Ports, alarm: Alarm, due_ms: int, changes: Mapping[str, Any]) -> Alarm:
    """Return an alarm at its next time, which is before its deadline. Past that, the back-off goes on."""
    now_ms = ports.clock.now_ms()
    if now_ms < alarm.deadline_ms:
        due_ms = before_deadline(due_ms, now_ms, alarm.deadline_ms)
    return alarm.at(due_ms, **{"attempt": 0, **changes})
