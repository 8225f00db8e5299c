"""What callers can do with deliveries: redeliver one, and recover all that have failed."""

import asyncio
from dataclasses import dataclass
from itertools import count
from typing import TypedDict

from shared.core import ids, keys
from shared.core.changesets import ChangeSet
from shared.core.entries import DeliveryEntry, Listing
from shared.core.errors import BadRequest, UnreadableRow
from shared.core.records import Delivery, Record
from shared.deliveries import first_attempts
from shared.lists.queries import RecoveryQuery
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import apply
from shared.storage import codec
from shared.telemetry.logs import logger
from shared.transitions import delivery_transitions

_log = logger(__name__)

MAX_ATTEMPTS_LOGGED = 400  # per target: the attempts of both are read in one page of 1,000 rows
RECOVER_WITHIN_S = 20.0
_PAGE = 100


async def redeliver(ports: Ports, record: Record, target: str | None) -> Record:
    """Begin the deliveries of a response again, or only the one to `target`, and return the record.

    `target` is "callback", "reply_queue", or None for both. The id of the event stays the same. A delivery that is
    being sent now is left alone. Raises BadRequest if the response has not ended, if it has no such delivery, or if 400
    attempts were made.
    """
    if not record.status.is_terminal:
        raise BadRequest("The response has not ended yet: there is nothing to deliver.", code="response_not_finished")
    chosen = [one for one in record.deliveries if target in (None, one.target.label)]
    if not chosen:
        raise BadRequest(f"This response has no delivery{f' to {target}' if target else ''}.", code="no_delivery")
    if any(one.attempt >= MAX_ATTEMPTS_LOGGED for one in chosen):
        raise BadRequest(f"{MAX_ATTEMPTS_LOGGED} attempts were made: no more can be logged.", code="too_many_attempts")
    for one in chosen:
        record = await _redeliver(ports, record, one.target) or record
    return record


async def _redeliver(ports: Ports, record: Record, target: str, failure_key: str | None = None) -> Record | None:
    """Begin a delivery again, unless its first attempt may be under way. Return the record, or None without one.

    With a `failure_key`, it is begun again only if it is still the delivery that failed under this key.
    """
    later_ms = count()  # each try is a millisecond later, so that its alarm has a key of its own

    def transition(current: Record) -> tuple[ChangeSet | None, bool]:
        delivery = current.delivery(target)
        if delivery is None or current.deleted or failure_key not in (None, delivery.failure_key):
            return None, False
        first = first_attempts.first_attempt(ports, current, delivery.target, again=True)
        change = delivery_transitions.redeliver(current, delivery, first, ports.clock.now_ms() + next(later_ms))
        return change, change is not None

    written, is_ours = await apply(ports, record, record.id, transition)
    if written and is_ours:
        first_attempts.begin(ports, written, target)
    return written


@dataclass(frozen=True, slots=True)
class Recovery:
    """How many deliveries a recovery has begun again, and whether more are left."""

    recovered: int
    has_more: bool


class RecoveryView(TypedDict):
    """The result of a recovery, as callers read it."""

    object: str  # "delivery.recovery"
    recovered: int  # or would be, in a dry run
    has_more: bool
    dry_run: bool


async def recover(ports: Ports, caller: str, wanted: RecoveryQuery) -> Recovery:
    """Begin the deliveries of a caller again that failed or were blocked, for at most 20 s.

    A dry run counts them, and begins none. Raises BadRequest if `since` lies in the future, which is a slip: a time in
    milliseconds, or one of another zone.
    """
    if wanted.since_ms > ports.clock.now_ms():
        raise BadRequest("'since' must not lie in the future.", param="since", code="invalid_value")
    until_s = ports.clock.elapsed_s() + RECOVER_WITHIN_S
    shards = await asyncio.gather(*(_recover_shard(ports, shard, caller, wanted, until_s) for shard in ids.SHARDS))
    recovery = Recovery(sum(one.recovered for one in shards), any(one.has_more for one in shards))
    if not wanted.dry_run:
        _log.info("deliveries.recovered", extra={"caller": caller, "count": recovery.recovered})
    return recovery


async def _recover_shard(ports: Ports, shard: str, caller: str, wanted: RecoveryQuery, until_s: float) -> Recovery:
    first: str | None = keys.deliveries_from(Listing.FAILED, ids.tag(caller), wanted.since_ms)
    end = keys.deliveries_from(Listing.FAILED, ids.tag(caller), wanted.until_ms)
    recovered = 0
    while first:
        found, first = await ports.store.entries(shard, first, end, _PAGE, codec.decode_delivery_entry)
        for entry in found:
            if ports.clock.elapsed_s() > until_s:
                return Recovery(recovered, has_more=True)
            try:
                recovered += await _recover_one(ports, caller, entry, wanted)
            except UnreadableRow as error:  # such as one with a target of a newer version
                _log.error("row.unreadable", extra={"key": keys.record_key(entry.id), "reason": str(error)})
    return Recovery(recovered, has_more=False)


async def _recover_one(ports: Ports, caller: str, failed: DeliveryEntry, wanted: RecoveryQuery) -> bool:
    """Begin a failed delivery again. Return False if that has been done already, or if it is not wanted."""
    if failed.host and wanted.host not in (None, failed.host):
        return False
    if wanted.dry_run and (failed.host or wanted.host is None):
        return True  # the row goes with the failure, so there is no need to read the record
    record = await ports.store.read(failed.id)
    delivery = record.delivery(failed.target) if record else None
    key = keys.delivery_key(Listing.FAILED, ids.tag(caller), failed.at_ms, failed.id, failed.target)
    if record is None or record.deleted or delivery is None or delivery.failure_key != key:
        return False
    if wanted.host not in (None, _host(ports, record, delivery)):
        return False
    return wanted.dry_run or await _redeliver(ports, record, failed.target, key) is not None


def _host(ports: Ports, record: Record, delivery: Delivery) -> str:
    return ports.senders[delivery.target].host(record.request.address(delivery.target))
