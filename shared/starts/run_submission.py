"""Submission of a run: a response whose work is read by a process is accepted, and held or offered.

If its upstream has a limit, it has a `start` alarm until it has a permit, and a `run` alarm from then on.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from shared import off_loop
from shared.contract import stream_events
from shared.core import blobs, event_log
from shared.core.alarms import Alarm
from shared.core.changesets import ChangeSet
from shared.core.errors import Conflict, StoreError
from shared.core.event_log import Event
from shared.core.records import Record
from shared.lifecycle import endings
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import exchange, insert
from shared.starts import failed_starts, joining, packing, permits, turns
from shared.starts.rerouting import Round
from shared.telemetry.logs import logger
from shared.transitions import response_transitions, run_transitions

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class SubmittedRun:
    """A run that was accepted. If this process holds it, `alarm` is its lease, and otherwise None.

    `first_frame` is the `response.created` event as a client reads it.
    """

    record: Record
    alarm: Alarm | None = None
    first_frame: bytes = field(default=b"", repr=False)


async def submit_run(
    ports: Ports, record: Record, request: dict[str, Any], *, held: bool, in_place: bool = False
) -> SubmittedRun:
    """Accept a response that a run drives. With `held`, this process holds the run. If not, the `runs` queue offers it.

    `in_place` is as in `run_transitions.accept_run`.

    A repeat of an idempotent request joins the first one. Raises TooLarge if the request and its first event are over
    2.5 MiB when packed, BadRequest as `joining.join` does, and StoreError if nothing could be accepted.
    """
    packed = await off_loop.run_on(request, packing.packed, request)
    now_ms = ports.clock.now_ms()
    echoing, events = await off_loop.run_on(request, _beginning, record, request)
    if len(packed) + event_log.size_of(event_log.event_rows(0, events)) > blobs.MAX_PACKED:
        raise packing.too_large("The request and what its stream repeats of it are")
    accepting = response_transitions.accept(echoing, packed, now_ms, events)
    held_ms = run_transitions.lease_ms(replays=ports.upstreams.of(record).upstream.is_background) if held else 0
    waits = turns.must_ask(ports, record)
    if waits:
        change = run_transitions.accept_waiting_run(accepting)
    else:
        change = run_transitions.accept_run(accepting, now_ms, held_ms, in_place=in_place)
    try:
        accepted = await insert(ports, change)
    except Conflict:
        if joined := await joining.join(ports, record.id):
            return SubmittedRun(joined)
        return await submit_run(ports, record, request, held=held, in_place=in_place)
    if waits:
        begins = partial(run_transitions.begin_run, held_ms=held_ms, in_place=in_place)
        began = await _begin_run(ports, accepted, change.alarms_in[0], Round(ports, request), begins)
        if isinstance(began, Record):
            return SubmittedRun(began)
        accepted, change = began
    if not held:
        return SubmittedRun(accepted)
    return SubmittedRun(accepted, change.alarms_in[0], stream_events.frames(record.id, 0, events))


def _beginning(record: Record, request: dict[str, Any]) -> tuple[Record, tuple[Event, ...]]:
    """Return the record with its first object, and the first event of its stream if it has one."""
    echoing = endings.echoing(record, request)
    if not record.request.stream:
        return echoing, ()
    return echoing, (stream_events.created_event(record, endings.known_object(echoing)),)


async def _begin_run(
    ports: Ports, record: Record, held: Alarm, round_: Round, begins: Callable[[Record, int], ChangeSet]
) -> Record | tuple[Record, ChangeSet]:
    """Take a permit and put the `run` alarm in place of the `start` alarm. Return the record and what was written.

    Returns only the record if the response waits for its turn, or if another process begins it.
    """
    try:
        asked = await permits.take_permit(ports, round_, record, held, again=False)
        if isinstance(asked, Record):
            return asked
        record, held = asked
        now_ms, written = ports.clock.now_ms(), list[ChangeSet]()

        def transition(current: Record) -> ChangeSet | None:
            if current.status.is_terminal:
                return None
            written.append(begins(current, now_ms))
            return written[-1]

        begun, has_begun = await exchange(ports, record, held, transition)
    except StoreError:
        _log.warning("start.unrecorded", extra={"response": record.id})
        return record  # its start alarm continues from here
    if begun and has_begun:
        return begun, written[-1]
    return await turns.leave_if_over(ports, record, turns.place_at(record, held))


async def offer_run(ports: Ports, record: Record, alarm: Alarm) -> None:
    """Offer a run that has waited for its turn, if it has a permit now."""
    try:
        if turn := await turns.ask(ports, record, alarm, again=True):
            await turns.wait(ports, record, alarm, turn)
        else:
            await turns.offer(ports, record, alarm)
    except StoreError as error:
        await failed_starts.take_back(ports, alarm, error)
        raise
