"""Submission: accepts a response and starts it upstream.

A response that is polled takes four steps.

    a   insert the record, the request and a `start` alarm
    b   start the work upstream, with our id as the idempotency key
    c   record the upstream's token and set the first poll
    d   watch it, or ask for a sweep

If the process crashes on the way, the alarm remains, and a sweep continues from (b). A response that a run drives has a
`run` alarm instead, and the holder of the run starts the work.
"""

from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from shared import off_loop
from shared.contract import responses
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.errors import (
    Conflict,
    StoreError,
    UnreadableRow,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
    UpstreamUncertain,
)
from shared.core.records import Record
from shared.core.states import later
from shared.lifecycle import completion, echoes, endings, upstream_ids, watcher
from shared.runtime import lease_renewal
from shared.runtime.leases import RENEWED_MS
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import apply, insert
from shared.starts import failed_starts, joining, packing, permits, rerouting, run_submission, turns
from shared.telemetry import tracing
from shared.telemetry.logs import logger
from shared.transitions import response_transitions, upstream_transitions
from shared.upstreams import tries
from shared.upstreams.protocol import Progress

_log = logger(__name__)


async def submit(ports: Ports, record: Record, request: dict[str, Any]) -> Record:
    """Accept a response that no client reads as a stream now, have it started, and return its record.

    `request` is the body for the upstream. Raises as `submit_polled` and `run_submission.submit_run` do.
    """
    if ports.upstreams.of(record).upstream.is_background and not record.request.stream:
        return await submit_polled(ports, record, request)
    return (await run_submission.submit_run(ports, record, request, held=False)).record


async def submit_polled(ports: Ports, record: Record, request: dict[str, Any]) -> Record:
    """Accept a response, start it, and return its record. A repeat of an idempotent request joins the first one.

    Raises RefusedByUpstream if the upstream rejects the request, and then nothing is kept. Raises TooLarge if the
    request is over 2.5 MiB when packed, BadRequest as `joining.join` does, and StoreError if nothing could be accepted.
    """
    packed = await off_loop.run_on(request, packing.packed, request)
    # an upstream that honours the key starts nothing twice, so this lease may be short
    lease_ms = RENEWED_MS if ports.upstreams.of(record).spec.honours_keys else LEASE_MS[Kind.START]
    change = response_transitions.accept(
        await off_loop.run_on(request, endings.echoing, record, request),
        packed,
        ports.clock.now_ms(),
        lease_ms=lease_ms,
    )
    try:
        accepted = await insert(ports, change)
    except Conflict:
        joined = await joining.join(ports, record.id)
        return joined or await submit_polled(ports, record, request)
    try:
        with tracing.under(accepted.trace):
            return await _start(ports, accepted, change.alarms_in[0], request, is_first=True)
    except StoreError:
        _log.warning("start.unrecorded", extra={"response": record.id})
        return accepted  # its start alarm continues from here


async def _start(
    ports: Ports, record: Record, held: Alarm, request: dict[str, Any], *, is_first: bool = False
) -> Record:
    """Make one try of a start at each upstream that may begin it, until one does, and return the record after it.

    A response without a permit waits for its turn instead. The first try of a POST may raise RefusedByUpstream.
    """
    round_ = rerouting.Round(ports, request)
    credentials = await completion.credentials_in(record, request)  # before the work begins: then no step may be slow
    if turns.must_ask(ports, record):
        asked = await permits.take_permit(ports, round_, record, held, again=not is_first)
        if isinstance(asked, Record):
            return asked
        record, held = asked
    while True:
        if ports.clock.now_ms() >= held.due_ms:
            return record  # what came before took so long that another process may have started the response
        outcome, held = await _try(ports, record, held, request, credentials)
        if isinstance(outcome, Progress):
            return await record_start(ports, record, held, outcome, credentials)
        following = await _following(ports, round_, record, held, outcome)
        if isinstance(following, Record):
            return following
        if following is None:
            return await failed_starts.settle(ports, record, held, outcome, is_first=is_first)
        record, held = following


async def _following(
    ports: Ports, round_: rerouting.Round, record: Record, held: Alarm, error: UpstreamError
) -> Record | tuple[Record, Alarm] | None:
    """Give a response to the upstream that is tried next in a round, and return its record and its alarm.

    If none is, it waits in a line, and only the record is returned. Returns None if the error closes no gate, or if
    storage fails.
    """
    if moved := await round_.move(record, held, error):
        return moved
    placed = await permits.take_permit_at_first(ports, round_, record, held, error)
    if placed is None:
        placed = await permits.give_back(ports, record, held, error)
    if isinstance(placed, Record):
        _log.warning("start.deferred", extra={"response": record.id, **tries.seen(error)})
    return placed


async def _try(
    ports: Ports, record: Record, held: Alarm, request: dict[str, Any], credentials: frozenset[str]
) -> tuple[Progress | UpstreamError, Alarm]:
    """Make one try at the upstream of a response. Return what came of it, and the alarm as it is then."""
    upstream = ports.upstreams.of(record).upstream
    if not upstream.is_background:
        return UpstreamUnavailable("the upstream no longer works in the background"), held
    try:
        async with lease_renewal.holding(ports, held) as lease:
            progress = await upstream.start(request, record.id)
    except UpstreamRefused as refusal:
        return endings.with_our_ids(refusal, record, request, credentials), lease.alarm
    except UpstreamError as error:
        return error, lease.alarm
    return progress, lease.alarm


async def record_start(
    ports: Ports, record: Record, held: Alarm, progress: Progress, credentials: frozenset[str] = frozenset()
) -> Record:
    """Record the first progress of the upstream, whatever has happened to the response meanwhile.

    `credentials` are those of the request, which the object may not repeat.
    `held` is the alarm that the caller owns. Returns the record. Raises NotFound if the response has been purged.
    """
    token = progress.token
    await turns.answered(ports, record, held)
    if token is None and not record.upstream.token:
        outcome = endings.by_progress(progress, ports.clock.now_ms())
        return failed_starts.existing(await completion.end(ports, record, held.id, outcome, held))
    end_announced = token is not None and await upstream_ids.register(ports, record, token)
    shown = partial(_known_body, record, progress, credentials, ports.clock.now_ms())
    known = await off_loop.run_on_both(progress.answer, record.body, shown)
    try:
        recorded, start = await apply(
            ports,
            record,
            held.id,
            lambda current: _start_transition(ports, current, progress, end_announced, known),
            held,
        )
        if recorded and start and start.lease:
            watcher.begin(ports, recorded, start.lease)
    finally:
        ports.watches.leave(held.id)
    if recorded is None and token:
        await _stop_at_once(ports, record, token)
    if recorded and start and start.is_orphan:
        _log.warning("start.orphaned", extra={"response": held.id, "twice": recorded.upstream.token != token})
    return failed_starts.existing(recorded)


async def _stop_at_once(ports: Ports, record: Record, token: str) -> None:
    """Stop the work of a response that has been purged meanwhile. It has no row that could hold a `stop` alarm."""
    try:
        await ports.upstreams.of(record).upstream.stop(token)
    except UpstreamError as error:
        _log.error("start.unstopped", extra={"response": record.id, "reason": str(error)})


@dataclass(frozen=True, slots=True)
class _Start:
    """What a recorded start means.

    The work is an orphan if the response ended before its token was known, or if it was started twice. `lease` is the
    alarm of a response that this process watches from now on.
    """

    is_orphan: bool = False
    lease: Alarm | None = None


def _known_body(record: Record, progress: Progress, credentials: frozenset[str], now_ms: int) -> bytes:
    """Return the response object as the first progress shows it, packed."""
    status, answer = later(record.status, progress.status), echoes.masked_echo(progress.answer, credentials)
    shown = responses.present(record, status, answer, endings.known_object(record), now_ms)
    return packing.packed_or_nothing(shown)


def _start_transition(
    ports: Ports, record: Record, progress: Progress, end_announced: bool, body: bytes
) -> tuple[ChangeSet | None, _Start]:
    """Decide what the first progress means for the record as it is now. `body` is what is known of the response."""
    now_ms, token = ports.clock.now_ms(), progress.token
    if token is None or token == record.upstream.token:
        return None, _Start()
    if record.upstream.token or record.status.is_terminal:
        return upstream_transitions.stop_orphan(record, token, progress.upstream_id, now_ms), _Start(is_orphan=True)
    status = later(record.status, progress.status)
    if end_announced:
        record = replace(record, upstream=replace(record.upstream, end_announced=True))
    lease = watcher.lease_of(ports, record, token, now_ms, len(body))
    poll_min_ms = ports.upstreams.of(record).spec.poll_min_ms
    poll = lease or response_transitions.poll_alarm(record, token, now_ms, ports.random, poll_min_ms)
    change = response_transitions.record_start(
        record, status, token, progress.upstream_id, poll, body, is_watched=lease is not None
    )
    return change, _Start(lease=lease)


async def on_start_alarm(ports: Ports, alarm: Alarm) -> None:
    """Start a response whose first start was not recorded, or learn the token of one that has ended meanwhile."""
    try:
        record = await ports.store.read(alarm.id)
        is_run = record is not None and turns.is_waiting_run(record, alarm)
        has_request = record is not None and not is_run and not record.upstream.token
        packed = await ports.store.request(alarm.id) if has_request else None
    except (StoreError, UnreadableRow) as error:
        await failed_starts.take_back(ports, alarm, error)
        raise
    if record is None or (record.upstream.token and not is_run) or _is_over(ports, record, alarm):
        await ports.store.remove(alarm)
        if record and (is_run or not record.upstream.token):
            await turns.leave_if_over(ports, record, turns.place_at(record, alarm))
        return
    now_ms = ports.clock.now_ms()
    if not record.status.is_terminal and now_ms >= alarm.deadline_ms:
        await completion.end(ports, record, record.id, endings.deadline_exceeded(now_ms))
    elif is_run:
        await run_submission.offer_run(ports, record, alarm)
    else:
        await _start_again(ports, record, alarm, await off_loop.unpack(packed or b""))


def _is_over(ports: Ports, record: Record, alarm: Alarm) -> bool:
    """Return whether nothing is left to do for a `start` alarm: its response has ended, and no try can have begun work.

    `counted` of the alarm includes the try that would follow.
    """
    may_have_begun = alarm.counted > 1 or record.upstream.bound
    return record.status.is_terminal and not (may_have_begun and may_learn_token(ports, record, alarm))


def may_learn_token(ports: Ports, record: Record, alarm: Alarm) -> bool:
    """Return whether a create may be repeated only to learn what to stop.

    It may until a day after the deadline, if the upstream honours the idempotency key.
    """
    honours_keys = ports.upstreams.of(record).spec.honours_keys
    return honours_keys and ports.clock.now_ms() < alarm.deadline_ms + upstream_transitions.DAY_MS


async def _start_again(ports: Ports, record: Record, alarm: Alarm, request: dict[str, Any]) -> None:
    record = await off_loop.run_on(request, endings.echoing, record, request)
    if not ports.upstreams.of(record).upstream.is_background:
        message = "The upstream of this response no longer works in the background."
        await failed_starts.fail_start(ports, record, alarm, endings.lost(message, ports.clock.now_ms()))
    elif failed_starts.are_used_up(ports, record, alarm.counted):
        died = UpstreamUncertain("no try was finished")
        await failed_starts.settle(ports, record, alarm, died)
    else:
        failed_starts.note_repeat(record, alarm.counted)
        await _start(ports, record, alarm, request)
