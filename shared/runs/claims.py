"""Who drives a run: the alarm that finds it without a holder, and the message that offers it to a new one."""

from contextlib import aclosing

from shared.core import blobs, response_transitions, run_transitions
from shared.core.alarms import Alarm
from shared.core.backoff import MAX_UNEXPECTED
from shared.core.changesets import Write
from shared.core.errors import Conflict, UpstreamError, UpstreamRefused
from shared.core.records import Record
from shared.lifecycle import completion, submission
from shared.runtime.ports import World
from shared.runtime.unit_of_work import commit, decide
from shared.telemetry.logs import logger
from shared.upstreams.protocol import NoMemory

_log = logger(__name__)


async def ring(world: World, alarm: Alarm) -> None:
    """Ask for a holder: the lease has run out, or nobody has claimed the run that was offered."""
    record = await world.store.read(alarm.id)
    now_ms = world.now_ms()
    if record and _must_learn(world, record, alarm):
        await _learn(world, record, alarm)
    elif record is None or record.status.is_terminal or record.epoch != alarm.epoch:
        await world.store.remove(alarm)
    elif now_ms >= alarm.deadline_ms:
        await completion.end(world, record, record.id, completion.deadline(now_ms), alarm)
    elif record.claimed and record.lapses >= MAX_UNEXPECTED:
        _log.error("run.given_up", extra={"response": record.id})
        await completion.end(world, record, record.id, completion.by_fault(now_ms), alarm, reads_request=False)
    else:
        _log.info("run.granted", extra={"response": record.id, "epoch": record.epoch, "lapsed": record.claimed})
        await decide(world, record, record.id, lambda current: _granted(current, alarm, now_ms), alarm)


def _granted(record: Record, alarm: Alarm, now_ms: int) -> Write | None:
    if record.status.is_terminal or record.epoch != alarm.epoch:
        return None
    return run_transitions.granted(record, alarm, now_ms, lapsed=True)


async def claim(world: World, response_id: str, epoch: int) -> tuple[Record, Alarm] | None:
    """Become the holder of a run that was offered for that epoch; None if it is not to be had."""
    record = await world.store.read(response_id)
    if record is None or record.status.is_terminal or record.claimed or record.epoch != epoch:
        return None
    write = run_transitions.claimed(record, world.now_ms())
    try:
        return await commit(world, record, write), write.alarms_in[0]
    except Conflict:
        return None  # another message came first, or the alarm rings and asks again


def _must_learn(world: World, record: Record, alarm: Alarm) -> bool:
    """Say whether work may go on upstream that nobody knows the token of, and can be learned."""
    unknown = record.status.is_terminal and not record.token
    return unknown and world.upstreams.of(record.model).replays and submission.may_learn(world, alarm)


async def _learn(world: World, record: Record, alarm: Alarm) -> None:
    """Repeat the create with the same key, only to learn what to stop."""
    request = blobs.unpack(await world.store.request(record.id) or b"")
    try:
        token = await _first_token(world, record, request)
    except UpstreamRefused:
        await world.store.remove(alarm)
    except UpstreamError as error:
        await submission.defer(world, alarm, error)
    else:
        await decide(world, record, record.id, lambda current: _learned(world, current, token), alarm)


async def _first_token(world: World, record: Record, request: dict[str, object]) -> str | None:
    upstream = world.upstreams.of(record.model)
    async with aclosing(upstream.run(request, record.id, NoMemory())) as sent:
        async for one in sent:
            if one.response_id:
                return one.response_id
    return None


def _learned(world: World, record: Record, token: str | None) -> Write | None:
    if token is None or token == record.token:
        return None
    return response_transitions.learned(record, token, token, world.now_ms())
