"""Joining: a repeat of an idempotent request gets the response of the first one."""

from shared.core.errors import BadRequest
from shared.core.records import ExecutionMode, Record
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import update
from shared.transitions import response_transitions

_PAUSE_S = 0.2


async def join(ports: Ports, response_id: str) -> Record | None:
    """Wait for the first of two equal requests and return its record.

    Returns None if its rows are gone, so that this request may be the first. If the start is not confirmed in time, the
    response is acknowledged before it is returned, so that its rows are not removed. Raises BadRequest if the response
    was deleted.
    """
    until_s = ports.clock.elapsed_s() + ports.config.limits.start_wait_s
    while record := await ports.store.read(response_id):
        if record.deleted and not record.upstream.refusal:
            raise BadRequest("The response of this Idempotency-Key was deleted.", param="Idempotency-Key")
        if _is_joinable(record):
            return record
        if ports.clock.elapsed_s() >= until_s:
            return await update(ports, record, response_id, response_transitions.acknowledge)
        await ports.clock.sleep(_PAUSE_S)
    return None


def _is_joinable(record: Record) -> bool:
    """Return whether a repeat waits no longer for the start. If its call waits for a run, it waits for the end."""
    waits_anyway = record.run.mode is ExecutionMode.RUN and not (record.run.claimed or record.request.stream)
    return record.upstream.has_begun or record.status.is_terminal or record.acknowledged or waits_anyway
