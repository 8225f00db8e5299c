"""Withdrawal: a POST that still waits when its response ends by a refusal answers with that refusal.

Directly, the upstream would have answered the POST with a 4xx, and SDKs raise only then. No caller knows the id, so the
response is hidden and purged. `response_transitions.end` notes the status of the refusal only while that is so.
"""

import orjson

from shared.core import blobs
from shared.core.changesets import ChangeSet
from shared.core.errors import RefusedByUpstream, StoreError, UpstreamRefused
from shared.core.records import Record
from shared.lifecycle import retention
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import update
from shared.telemetry.logs import logger
from shared.transitions import response_transitions

_log = logger(__name__)


async def before_answer(ports: Ports, record: Record) -> Record:
    """Return the record of a response whose id its caller is about to learn, and that is not a background one.

    If its work has not begun, that is noted first, so that a later refusal is not passed on to anybody else. Raises
    RefusedByUpstream if a refusal has ended it, and hides it then.
    """
    if not (record.status.is_terminal or record.acknowledged or record.upstream.has_begun):
        record = await _acknowledged(ports, record)
    if record.upstream.refusal:
        raise await withdraw(ports, record)
    return record


async def _acknowledged(ports: Ports, record: Record) -> Record:
    try:
        return await update(ports, record, record.id, _acknowledge) or record
    except StoreError:
        _log.warning("start.unacknowledged", extra={"response": record.id})
        return record  # an answer is worth more to its caller than this note


def _acknowledge(record: Record) -> ChangeSet | None:
    return None if record.status.is_terminal else response_transitions.acknowledge(record)


async def withdraw(ports: Ports, record: Record) -> RefusedByUpstream:
    """Hide a response that a refusal has ended, and return the refusal for its caller.

    A response whose end is also sent elsewhere stays, because its id becomes known there.
    """
    error = orjson.loads(blobs.expand(await ports.store.body(record)))["error"]
    if not record.deleted and not record.deliveries:
        try:
            await retention.delete(ports, record)
        except StoreError:
            _log.warning("start.not_removed", extra={"response": record.id})
    refusal = UpstreamRefused(
        record.upstream.refusal, error["message"], param=error["param"], code=error["code"], kind=error["type"]
    )
    return RefusedByUpstream(refusal)
