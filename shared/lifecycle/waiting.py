"""Waiting for the end of a response, on behalf of a caller.

In the process that watches the response, the watch tells the end, and nothing is read. In any other process the status
in the record is read, more rarely with the age of the response, and the upstream is polled at most every 10 s.
"""

from dataclasses import replace

from shared.core.backoff import look_delay
from shared.core.errors import StoreError
from shared.core.records import Record
from shared.lifecycle import ownership, polling
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger

_log = logger(__name__)

POLL_EVERY_S = 10.0
_STEP_S = 600.0

Shown = tuple[Record, bytes]
"""A record, and the response object as JSON text for a caller."""


async def until_ended(ports: Ports, shown: Shown, wait_s: float, include: tuple[str, ...] = ()) -> Shown:
    """Return the response when it has ended, or as it is after `wait_s` seconds.

    `shown` is the response as it was seen last. Raises NotFound if it is gone.
    """
    if wait_s <= 0:
        return shown
    clock, response_id = ports.clock, shown[0].id
    until_s = clock.elapsed_s() + wait_s
    poll_s = clock.elapsed_s() + POLL_EVERY_S
    with ports.watches.waiting(response_id):
        while not shown[0].status.is_terminal and (left_s := until_s - clock.elapsed_s()) > 0:
            watch = ports.watches.of(response_id)
            if watch and not watch.is_over:
                if await watch.end(left_s) or clock.elapsed_s() >= until_s:
                    shown = await _look(ports, watch.record, include, shown)
                continue
            await clock.sleep(min(left_s, look_delay(clock.now_ms() - shown[0].created_ms) / 1000))
            is_to_poll = clock.elapsed_s() >= min(poll_s, until_s)
            if is_to_poll:
                poll_s = clock.elapsed_s() + POLL_EVERY_S
            shown = await _look_again(ports, shown, include, is_to_poll=is_to_poll)
    return shown


async def end_of(ports: Ports, record: Record) -> Shown:
    """Return a response when it has ended. Its object is not kept meanwhile. Raises NotFound if it is gone."""
    if record.status.is_terminal:
        return record, await polling.stored_object(ports, record)
    shown: Shown = (replace(record, body=b""), b"")
    while not shown[0].status.is_terminal:
        shown = await until_ended(ports, (replace(shown[0], body=b""), b""), _STEP_S)
    return shown


async def _look_again(ports: Ports, shown: Shown, include: tuple[str, ...], *, is_to_poll: bool) -> Shown:
    """Return the response as its record says now, or as it was last seen if storage does not answer."""
    try:
        current = await ports.store.read(shown[0].id, with_body=False)
        if current and not (current.status.is_terminal or is_to_poll):
            return current, shown[1]
        current = await ports.store.read(shown[0].id) if current else None
        if current and current.upstream.refusal:
            return current, await polling.stored_object(ports, current)
    except StoreError as error:
        return _as_before(shown, error)
    if current is None or current.deleted:
        raise ownership.not_found(shown[0].id)
    return await _look(ports, current, include, shown)


async def _look(ports: Ports, record: Record, include: tuple[str, ...], before: Shown) -> Shown:
    """Return the response with its object, or as it was seen before if storage does not tell the object.

    An end without its object is no end: whoever waits looks again.
    """
    try:
        return await polling.look(ports, record, include)
    except StoreError as error:
        return _as_before(before, error)


def _as_before(before: Shown, error: StoreError) -> Shown:
    _log.warning("wait.deferred", extra={"response": before[0].id, "error": type(error).__name__})
    return before
