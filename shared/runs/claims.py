"""Offers and claims: an alarm finds a run without a holder, and a queue message lets a process claim it."""

import asyncio
from contextlib import aclosing

from shared import off_loop
from shared.core.alarms import Alarm
from shared.core.backoff import MAX_UNEXPECTED
from shared.core.changesets import ChangeSet
from shared.core.errors import Conflict, StoreError, UpstreamError, UpstreamRefused, UpstreamUncertain
from shared.core.records import Record
from shared.core.states import RunState
from shared.lifecycle import completion, endings
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import commit, update
from shared.starts import failed_starts, submission, turns
from shared.telemetry.logs import logger
from shared.transitions import run_transitions, upstream_transitions
from shared.upstreams import tries
from shared.upstreams.protocol import BackgroundUpstream

_log = logger(__name__)


async def on_run_alarm(ports: Ports, alarm: Alarm) -> None:
    """Offer a run again, because its lease has expired or no process has claimed the last offer.

    A run that is past its deadline, or whose lease keeps expiring without progress, ends instead. A failure of storage
    is none of the run, so it does not count as an attempt.
    """
    try:
        await _find_holder(ports, alarm)
    except StoreError as error:
        await failed_starts.take_back(ports, alarm, error)
        raise


async def _find_holder(ports: Ports, alarm: Alarm) -> None:
    record = await ports.store.read(alarm.id)
    now_ms = ports.clock.now_ms()
    leaves_work = record is not None and failed_starts.may_leave_work(ports, record, record.upstream.counted + 1)
    held = None if leaves_work else alarm
    if record and (upstream := _unknown_work(ports, record, alarm)):
        await _learn_token(ports, upstream, record, alarm)
    elif record is None or record.status.is_terminal or record.run.epoch != alarm.epoch:
        await ports.store.remove(alarm)
    elif now_ms >= alarm.deadline_ms:
        await completion.end(ports, record, record.id, endings.deadline_exceeded(now_ms), held)
    elif record.run.claimed and record.run.expirations >= MAX_UNEXPECTED:
        _log.error("run.given_up", extra={"response": record.id})
        await completion.end(ports, record, record.id, endings.internal_error(now_ms), held)
    elif not await _waits(ports, record, alarm):
        granted = {"response": record.id, "epoch": record.run.epoch, "lapsed": record.run.claimed}
        _log.info("run.granted", extra=granted)
        await update(ports, record, record.id, lambda current: _offer(current, alarm, now_ms), alarm)


async def _waits(ports: Ports, record: Record, alarm: Alarm) -> bool:
    """Return whether a run without a permit waits for its turn from now on. One that has a permit keeps it."""
    gate = ports.upstreams.gate_of(record)
    is_at_work = record.upstream.token is not None and ports.upstreams.of(record).upstream.is_background
    if is_at_work or gate is None or gate.limit is None or await ports.gates.holds(gate, record.id):
        return False
    place = turns.place_at(record, None)
    turn = await ports.gates.take(gate, place, again=True)
    return turn is not None and await turns.wait_instead_of_running(ports, record, alarm, turn)


def _offer(record: Record, alarm: Alarm, now_ms: int) -> ChangeSet | None:
    if record.status.is_terminal or record.run.epoch != alarm.epoch:
        return None
    return run_transitions.offer(record, alarm, now_ms, expired=True)


async def claim(ports: Ports, response_id: str, epoch: int) -> tuple[Record, Alarm] | None:
    """Claim a run that was offered for this epoch, and return its record and the alarm that is its lease.

    Returns None if the offer is no longer open.
    """
    record = await ports.store.read(response_id)
    if record is None or record.status.is_terminal or record.run.epoch != epoch:
        return None
    if record.run.state is not RunState.OFFERED:
        return None
    held_ms = run_transitions.lease_ms(replays=ports.upstreams.of(record).upstream.is_background)
    change = run_transitions.claim_run(record, ports.clock.now_ms(), held_ms)
    try:
        return await commit(ports, record, change), change.alarms_in[0]
    except Conflict:
        return None  # another message came first, or the alarm fires and will offer the run again


# Work with an unknown token


def _unknown_work(ports: Ports, record: Record, alarm: Alarm) -> BackgroundUpstream | None:
    """Return the upstream if it may have work whose token is unknown but can be learned, or None."""
    upstream = ports.upstreams.of(record).upstream
    is_unknown = record.status.is_terminal and not record.upstream.token
    if not upstream.is_background or not is_unknown:
        return None
    return upstream if submission.may_learn_token(ports, record, alarm) else None


async def _learn_token(ports: Ports, upstream: BackgroundUpstream, record: Record, alarm: Alarm) -> None:
    """Repeat the create with the same key, only to learn what to stop."""
    request = await off_loop.unpack(await ports.store.request(record.id) or b"")
    try:
        async with asyncio.timeout(ports.config.pace.learn_s):
            token = await _first_id(upstream, record, request)
    except TimeoutError:
        await failed_starts.defer(ports, alarm, UpstreamUncertain("no id in time"))
    except UpstreamError as error:
        if isinstance(error, UpstreamRefused) and not tries.is_under_way(error):
            await ports.store.remove(alarm)
        else:
            await failed_starts.defer(ports, alarm, error)
    else:
        now_ms = ports.clock.now_ms()
        await update(ports, record, record.id, lambda current: _stop_orphan(current, token, now_ms), alarm)


async def _first_id(upstream: BackgroundUpstream, record: Record, request: dict[str, object]) -> str | None:
    async with aclosing(upstream.stream(request, record.id)) as events:
        async for event in events:
            if event.response_id:
                return event.response_id
    return None


def _stop_orphan(record: Record, token: str | None, now_ms: int) -> ChangeSet | None:
    if token is None or token == record.upstream.token:
        return None
    return upstream_transitions.stop_orphan(record, token, token, now_ms)
