"""Carries out erasures, a step each time that their alarm fires.

A response that has not ended is cancelled first. Then it is deleted as its caller would delete it: it is hidden at
once, and its purge follows. A step that is repeated after a crash finds what is left. So the counts of the receipt may
be too small after one, and no response is left.
"""

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from shared import off_loop
from shared.contract.callers import Caller
from shared.core import ids, keys
from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.entries import Entry, entry_of
from shared.core.erasures import Erasure, Phase, Wanted, subjects_of
from shared.core.errors import BadRequest, NotFound, StoreError, StoreRefused, UnreadableRow
from shared.core.records import Record
from shared.core.states import Status
from shared.erasure import orders
from shared.erasure.orders import Receipt
from shared.lifecycle import completion, endings, retention
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import rearm
from shared.storage import codec
from shared.telemetry.logs import logger

STEP_S = 15.0
ROWS_A_QUERY = 100
KEPT_MS = 30 * 86_400_000

_log = logger(__name__)


async def order(ports: Ports, by: Caller, caller: str, wanted: Wanted) -> Receipt:
    """Accept an erasure of a caller's responses, and return its receipt."""
    now_ms = ports.clock.now_ms()
    erasure = Erasure(ids.new_id(), caller, by.name, now_ms, wanted)
    alarm = Alarm(now_ms + LEASE_MS[Kind.ERASE], Kind.ERASE, erasure.id)
    await ports.store.insert(erasure.id, keys.erasure_key(erasure.id), _properties(erasure), alarm)
    _log.info("erasure.ordered", extra={"erasure": erasure.id, "caller": caller, "by": by.name})
    with suppress(StoreError):  # the alarm fires then, if not now
        await rearm(ports, alarm, now_ms)
    return orders.receipt(erasure)


async def read(ports: Ports, by: Caller, named: str) -> Receipt:
    """Return the receipt of an erasure that a caller has ordered. Raises NotFound if there is none."""
    erasure_id = f"resp_{named.removeprefix(orders.PREFIX)}"
    row = await ports.store.find(erasure_id, keys.erasure_key(erasure_id)) if ids.is_id(erasure_id) else None
    erasure = codec.decode_erasure(str(row.get("facts", ""))) if row else None
    if erasure is None or erasure.ordered_by != by.name:
        raise NotFound(f"Erasure with id '{named[:100]}' not found.")
    return orders.receipt(erasure)


async def on_erase_alarm(ports: Ports, alarm: Alarm) -> None:
    """Take a step of an erasure. After the last one, its receipt is kept for 30 days, and its alarm removes it."""
    key = keys.erasure_key(alarm.id)
    row = await ports.store.find(alarm.id, key)
    erasure = codec.decode_erasure(str(row.get("facts", ""))) if row else None
    if row is None or erasure is None or _is_old(ports, erasure):
        await ports.store.discard(alarm.id, key)
        await ports.store.remove(alarm)
        return
    if erasure.ended_ms:  # the process that took the last step crashed before it had set the alarm
        await rearm(ports, alarm, erasure.ended_ms + KEPT_MS)
        return
    after = await _step(ports, erasure)
    if after.is_through:
        after = replace(after, ended_ms=ports.clock.now_ms())
        counts = {"cancelled": after.cancelled, "deleted": after.deleted, "failed": after.failed}
        _log.info("erasure.completed", extra={"erasure": erasure.id, "caller": erasure.caller, **counts})
    await ports.store.replace(alarm.id, key, _properties(after), row.etag)
    await rearm(ports, alarm, after.ended_ms + KEPT_MS if after.ended_ms else ports.clock.now_ms())


def _is_old(ports: Ports, erasure: Erasure) -> bool:
    """Return whether the receipt has been kept for long enough."""
    return bool(erasure.ended_ms) and ports.clock.now_ms() >= erasure.ended_ms + KEPT_MS


async def _step(ports: Ports, erasure: Erasure) -> Erasure:
    """Look through rows for up to 15 s, and return how far the erasure has come."""
    until_s = ports.clock.elapsed_s() + STEP_S
    while not erasure.is_through and ports.clock.elapsed_s() < until_s:
        found = await _look(ports, erasure)
        for response_id, entry_key in found.responses:
            try:
                erasure = await _erase(ports, erasure, response_id, entry_key)
            except (UnreadableRow, StoreRefused, ValueError) as error:  # a packed row that is damaged is a ValueError
                _log.error("erasure.unreadable", extra={"response": response_id, "error": type(error).__name__})
                erasure = replace(erasure, failed=erasure.failed + 1)
        erasure = replace(erasure, after=found.after) if found.after else erasure.next_part()
    return erasure


@dataclass(frozen=True, slots=True)
class _Found:
    """Responses that may have to go: the id of each, and the row key of its entry, or nothing.

    `after` says where to read on, and is empty at the end of the part.
    """

    responses: list[tuple[str, str]]
    after: str


async def _look(ports: Ports, erasure: Erasure) -> _Found:
    """Return the next responses of the erasure's part that may have to go."""
    shard = ids.SHARDS[erasure.shard]
    if erasure.phase is Phase.UNLISTED:
        named, following = await ports.store.records_of(shard, erasure.caller, erasure.after)
        return _Found([(one, "") for one in named], following)
    prefix = keys.entries_from(erasure.phase, ids.tag(erasure.caller))
    first, end = erasure.after or prefix, prefix + keys.END
    entries, after = await ports.store.entries(shard, first, end, ROWS_A_QUERY, codec.decode_entry)
    wanted = [entry for entry in entries if not entry.hidden and _may_match(entry, erasure)]
    return _Found([(entry.id, prefix + entry.place) for entry in wanted], after or "")


def _may_match(entry: Entry, erasure: Erasure) -> bool:
    """Return whether an entry shows that its response is wanted, or does not show enough."""
    before_ms = erasure.created_ms if erasure.wanted.before_ms is None else erasure.wanted.before_ms
    is_early = entry.created_ms < min(erasure.created_ms, before_ms)
    return is_early and (not entry.subjects_known or erasure.wanted.has_subjects(entry.subjects))


async def _erase(ports: Ports, erasure: Erasure, response_id: str, entry_key: str) -> Erasure:
    """Cancel a response if it has not ended, and delete it, if it is wanted. Return the erasure with that counted."""
    record = await ports.store.read(response_id)
    if record is None and entry_key:
        await ports.store.discard(response_id, entry_key)  # a release that knows no entries has purged it
    if record is None or record.deleted or not await _is_wanted(ports, record, erasure):
        return erasure
    if not record.status.is_terminal:
        cancelled = endings.cancelled(ports.clock.now_ms())
        ended = await completion.end(ports, record, record.id, cancelled)
        if ended is None:
            return erasure
        record = ended
        erasure = replace(erasure, cancelled=erasure.cancelled + (ended.status is Status.CANCELLED))
    try:
        await retention.delete(ports, record)
    except (NotFound, BadRequest):
        return erasure  # it is being purged
    return replace(erasure, deleted=erasure.deleted + 1)


async def _is_wanted(ports: Ports, record: Record, erasure: Erasure) -> bool:
    entry = entry_of(record)
    if not _may_match(entry, erasure):
        return False
    if entry.subjects_known or not (erasure.wanted.user or erasure.wanted.safety_identifier):
        return True
    packed = await ports.store.request(record.id)
    body: Any = await off_loop.unpack(packed) if packed else {}
    return erasure.wanted.has_subjects(subjects_of(body, record.caller))


def _properties(erasure: Erasure) -> dict[str, str]:
    return {"facts": codec.encode_erasure(erasure)}
