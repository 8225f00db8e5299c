"""Failed starts: what follows a try that brought no work. It is tried again, passed on as a refusal, or given up.

What a failure means is in `upstreams/tries`. Here it becomes an alarm, an end, or an answer for the caller.
"""

from shared.core.alarms import Alarm
from shared.core.backoff import MAX_COUNTED, retry_delay
from shared.core.errors import (
    Conflict,
    NotFound,
    RefusedByUpstream,
    StoreError,
    StoreUnavailable,
    UpstreamError,
    UpstreamRefused,
)
from shared.core.records import Record
from shared.lifecycle import completion, endings
from shared.lifecycle.endings import Outcome
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import end_turn, put_off, rearm
from shared.starts import turns
from shared.telemetry import lifecycle, metrics
from shared.telemetry.logs import logger
from shared.upstreams import removed, tries
from shared.upstreams.tries import Meaning

_log = logger(__name__)


async def settle(ports: Ports, record: Record, held: Alarm, error: UpstreamError, *, is_first: bool = False) -> Record:
    """Decide what follows a failed try of a response that is polled, and return its record.

    `held` is its `start` alarm, in which the try is counted. `is_first`: the caller of a POST waits for the answer of
    this try. Raises RefusedByUpstream if the upstream refused it, and then nothing is kept.
    """
    if tries.of_error(error) is Meaning.END:
        await turns.answered(ports, record, held)
        if is_first and isinstance(error, UpstreamRefused) and error.is_for_caller:
            return await _refuse(ports, record, held, error)
        if record.status.is_terminal and tries.is_under_way(error):
            await defer(ports, held, error)
            return record
        outcome = endings.by_error(error, ports.clock.now_ms())
        return await fail_start(ports, record, None if may_leave_work(ports, record, held.counted) else held, outcome)
    if tries.may_have_begun(error):
        await turns.failed(ports, record, held)
    if removed.is_given_up(error, record.wait, ports.clock.now_ms()):
        return await fail_start(ports, record, held, endings.removed(ports.clock.now_ms()))
    honours_keys = ports.upstreams.of(record).spec.honours_keys
    following = tries.next_try(error, held.counted, held.tries, ports.random, honours_keys=honours_keys)
    if following is None:
        return await fail_start(ports, record, held, give_up(ports, record, error))
    seen = {**tries.seen(error), "counted": following.counted}
    _log.warning("start.deferred", extra={"response": record.id, **seen})
    due_ms, counts = ports.clock.now_ms() + following.wait_ms, {"tries": following.free, "counted": following.counted}
    return await put_off(ports, record, held, due_ms, error, **counts) or record


def may_leave_work(ports: Ports, record: Record, counted: int) -> bool:
    """Return whether a response that fails now may leave work behind whose id can be learned.

    Its `start` or `run` alarm stays then, to repeat the create with the same key and stop the work. `counted` includes
    the try that has just ended, or would follow. What has ended before has its alarm for nothing else.
    """
    route, upstream = ports.upstreams.of(record), record.upstream
    may_have_begun = (counted > 1 or upstream.bound) and upstream.token is None
    is_learnable = route.upstream.is_background and route.spec.honours_keys
    return may_have_begun and is_learnable and not record.status.is_terminal


def are_used_up(ports: Ports, record: Record, counted: int) -> bool:
    """Return whether no try may follow. `counted` includes the one that would follow."""
    return counted > MAX_COUNTED and not ports.upstreams.of(record).spec.honours_keys


def give_up(ports: Ports, record: Record, error: UpstreamError) -> Outcome:
    """Report that a start is given up after its last counted try, and return how the response ends.

    An operator must know, because the upstream may be working, and be paid, for nobody.
    """
    _log.error("start.abandoned", extra={"response": record.id, "reason": str(error), "tries": MAX_COUNTED})
    metrics.abandoned.add(1)
    return endings.abandoned(error, ports.clock.now_ms())


def note_repeat(record: Record, counted: int) -> None:
    """Log and count a try, before it is made, if an earlier one may have begun the work. `counted` includes the try.

    An upstream that ignores the idempotency key may then work twice.
    """
    if counted > 1:
        _log.info("start.repeated", extra={"response": record.id, "counted": counted})
        metrics.repeated.add(1)


async def take_back(ports: Ports, alarm: Alarm, error: Exception) -> None:
    """Do not count a try that was not made, because storage failed before it. If storage fails again, it counts.

    `alarm` is the alarm as it stands. Before its deadline, its attempt does not count either if storage is away,
    because nothing is wrong with the response. A failure of another kind may be, so five of them end the response.
    """
    is_away = isinstance(error, StoreUnavailable) and ports.clock.now_ms() < alarm.deadline_ms
    counts = {"attempt": max(0, alarm.attempt - is_away), "counted": max(0, alarm.counted - 1)}
    try:
        await rearm(ports, alarm, alarm.due_ms, **counts)
    except StoreError:
        return


async def defer(ports: Ports, alarm: Alarm, error: UpstreamError) -> None:
    """Set an alarm that only learns a token to the time of its next try."""
    wait_ms = retry_delay(alarm.tries, ports.random, retry_after_s=error.retry_after_s)
    await rearm(ports, alarm, ports.clock.now_ms() + wait_ms, tries=alarm.tries + 1)


async def fail_start(ports: Ports, record: Record, held: Alarm | None, outcome: Outcome) -> Record:
    """End a response with an outcome, and remove its alarm if that is given. Raise NotFound if it has been purged."""
    return existing(await completion.end(ports, record, record.id, outcome, held))


async def _refuse(ports: Ports, record: Record, held: Alarm, refusal: UpstreamRefused) -> Record:
    """Remove the inserted rows and raise RefusedByUpstream. If a caller knows the id, the response fails instead."""
    outcome = endings.refused(refusal, ports.clock.now_ms())
    if record.acknowledged:
        return await fail_start(ports, record, held, outcome)
    try:
        await ports.store.remove_all(record, held.key)
        await end_turn(ports, record)
        operation = ports.upstreams.of(record).upstream.operation
        lifecycle.record_withdrawal(record, operation, ports.clock.now_ms())
    except Conflict:
        if ended := await completion.end(ports, None, record.id, outcome, held):
            return ended
    except StoreError:
        _log.warning("start.not_removed", extra={"response": record.id})
    raise RefusedByUpstream(refusal) from refusal


def existing(record: Record | None) -> Record:
    """Return the record. Raise NotFound if it was deleted and purged during its start."""
    if record is None:
        raise NotFound("The response was deleted.")
    return record
