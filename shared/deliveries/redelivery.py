"""What a caller sees and asks of deliveries: their log, another delivery, the recovery of all that failed."""

import asyncio
from dataclasses import dataclass
from typing import Any

import orjson

from shared.core import alarms, ids, response_transitions, states
from shared.core.changesets import Write
from shared.core.errors import BadRequest, Conflict
from shared.core.outcomes import SendError
from shared.core.records import TARGETS, Delivery, Record, failure_key, read_failure_key
from shared.runtime.ports import World
from shared.runtime.unit_of_work import decide
from shared.telemetry.logs import logger

_log = logger(__name__)

MAX_ATTEMPTS_LOGGED = 400  # per target: both logs are read in one page of 1,000 rows
RECOVER_WITHIN_S = 20.0
_PAGE = 100
_WAITS = {"breaker": "circuit_breaker", "slot": "capacity"}
# One word for both: it is not for callers to learn which names exist in the network of the deployment.
_UNREACHABLE = (SendError.DNS, SendError.ADDRESS_REFUSED)


async def listed(world: World, record: Record) -> list[dict[str, Any]]:
    """Return, per target, how far the delivery is and what each attempt brought."""
    rows = await world.store.children(record.id, "attempt")
    made = [(row["RowKey"].split("|")[3], orjson.loads(row["facts"])) for row in rows]
    return [
        {
            "target": TARGETS[delivery.target],
            "state": delivery.state,
            "webhook_id": ids.event_id(record.id, states.event_type(record.status)),
            "attempts": [_shown(facts) for target, facts in made if target == delivery.target],
            "next_attempt_at": _next_s(delivery),
            "waiting_for": _WAITS.get(delivery.waits) if delivery.is_open else None,
        }
        for delivery in record.deliveries
    ]


def _next_s(delivery: Delivery) -> float | None:
    """Return when the next attempt is due; None also while one is under way."""
    due = delivery.is_open and delivery.alarm and not delivery.sending
    return alarms.read_key(delivery.alarm).due_ms / 1000 if due else None


def _shown(facts: dict[str, Any]) -> dict[str, Any]:
    return facts | {"error": "no_public_address"} if facts["error"] in _UNREACHABLE else facts


async def redeliver(world: World, record: Record, target: str | None) -> Record:
    """Begin the deliveries of a response again, or that to one target, whatever became of them; the event's id stays.

    One that is being sent at this moment is left alone. Raises BadRequest where there is nothing to deliver.
    """
    if not record.status.is_terminal:
        raise BadRequest("The response has not ended yet: there is nothing to deliver.", code="response_not_finished")
    chosen = [one for one in record.deliveries if target in (None, TARGETS[one.target])]
    if not chosen:
        raise BadRequest(f"This response has no delivery{f' to {target}' if target else ''}.", code="no_delivery")
    if any(one.attempt >= MAX_ATTEMPTS_LOGGED for one in chosen):
        raise BadRequest(f"{MAX_ATTEMPTS_LOGGED} attempts were made: no more can be logged.", code="too_many_attempts")
    for one in chosen:
        record = await _again(world, record, one.target) or record
    return record


async def _again(world: World, record: Record, target: str) -> Record | None:
    """Begin a delivery again, unless it is being sent."""

    def plan(current: Record) -> Write | None:
        delivery = current.delivery(target)
        if delivery is None or delivery.sending or current.deleted:
            return None
        return response_transitions.redelivered(current, delivery, world.now_ms())

    try:
        return await decide(world, record, record.id, plan)
    except Conflict:
        return await world.store.read(record.id)  # its alarm is being rung: the attempt is coming


@dataclass(frozen=True, slots=True)
class Recovery:
    """What a recovery came to: how many deliveries begin again, and whether there are more."""

    recovered: int
    has_more: bool


async def recover(world: World, caller: str, since_ms: int) -> Recovery:
    """Begin every delivery of a caller again that has failed since then, for at most 20 s."""
    until_s = asyncio.get_running_loop().time() + RECOVER_WITHIN_S
    shards = await asyncio.gather(*(_recover(world, shard, caller, since_ms, until_s) for shard in ids.SHARDS))
    recovery = Recovery(sum(one.recovered for one in shards), any(one.has_more for one in shards))
    _log.info("deliveries.recovered", extra={"caller": caller, "count": recovery.recovered})
    return recovery


async def _recover(world: World, shard: str, caller: str, since_ms: int, until_s: float) -> Recovery:
    first, recovered = failure_key(ids.tag(caller), since_ms), 0
    while keys := await world.store.failures(shard, first, _PAGE):
        for key in keys:
            if asyncio.get_running_loop().time() > until_s:
                return Recovery(recovered, has_more=True)
            recovered += await _recovered(world, key)
        first = keys[-1] + "!"
    return Recovery(recovered, has_more=False)


async def _recovered(world: World, key: str) -> bool:
    """Begin the failed delivery again that the key of its row names; False if that has been done already."""
    try:
        response_id, target = read_failure_key(key)
    except ValueError:
        return False
    record = await world.store.read(response_id)
    delivery = record.delivery(target) if record else None
    if record is None or record.deleted or delivery is None or delivery.failed != key:
        return False
    return await _again(world, record, target) is not None
