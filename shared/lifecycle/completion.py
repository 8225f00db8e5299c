"""Completion: ends a response. All ends take this path: the upstream's, a cancel, a deadline and a fault."""

from shared.core import blobs, response_transitions
from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet
from shared.core.records import Record
from shared.lifecycle import endings
from shared.lifecycle.endings import Outcome
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import update
from shared.telemetry.logs import logger

_log = logger(__name__)


async def end(
    ports: Ports,
    record: Record | None,
    response_id: str,
    outcome: Outcome,
    held: Alarm | None = None,
    *,
    epoch: int | None = None,
) -> Record | None:
    """End a response unless it has ended. Return its record as it then is, or None if it does not exist.

    `record` is the record as last read, or None if it was not read. With an epoch, the response is ended only while its
    run has that epoch. The alarm `held`, which the caller owns, is removed in the same transaction, also if the
    response had ended before.
    """
    record = record or await ports.store.read(response_id)
    if record and outcome.reads_body:
        record = await with_object(ports, record)

    def transition(current: Record) -> ChangeSet | None:
        if current.status.is_terminal or (epoch is not None and current.run.epoch != epoch):
            return None
        ending = endings.ending_of(current, outcome)
        if endings.lost_session(outcome, ending):
            _log.warning("legacy.too_large", extra={"response": current.id})
        return response_transitions.end(current, ending, ports.clock.now_ms(), ports.config.limits.retention_ms)

    return await update(ports, record, response_id, transition, held)


async def with_object(ports: Ports, record: Record) -> Record:
    """Return the record with a response object.

    If it has none, or if the object was too large to be kept before it was final, the object is made from the request.
    """
    if record.body or record.status.is_terminal:
        return record
    packed = await ports.store.request(record.id)
    return endings.echoing(record, blobs.unpack(packed)) if packed else record
