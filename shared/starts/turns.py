"""Turns: a response has a permit of its upstream's gate before its create is sent, or waits in the line of its caller.

The line starts it then, and not an alarm. So its `start` alarm stands at its deadline while it waits.
"""

from dataclasses import replace

from shared.core.alarms import Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.errors import UpstreamError
from shared.core.gates.state import Place, Turn, place_of
from shared.core.gates.waits import reason_of
from shared.core.records import ExecutionMode, Record, WaitInfo
from shared.core.states import WaitReason
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import exchange
from shared.transitions import run_transitions, upstream_transitions
from shared.upstreams import tries
from shared.upstreams.tries import Meaning

_CLOSING = frozenset({WaitReason.UPSTREAM_DOWN, WaitReason.RATE_LIMIT, WaitReason.CREDENTIALS})


def closes(error: UpstreamError) -> bool:
    """Return whether an error of a create means that its upstream takes nothing now.

    There was no connection, or the status was 401, 425, 429 or 503.
    """
    return tries.of_error(error) is Meaning.FREE and error.waits_for in _CLOSING


def must_ask(ports: Ports, record: Record) -> bool:
    """Return whether a response needs a permit, as far as this process knows."""
    gate = ports.upstreams.gate_of(record)
    return gate is not None and not ports.gates.is_free(gate)


async def ask(
    ports: Ports, record: Record, held: Alarm | None, *, again: bool = False, stays: bool = True
) -> Turn | None:
    """Take a permit for a response, or a place in the line. Return None if it may start.

    `held` is its `start` alarm, or None for a run. `again`: it may have asked before. With `stays` false, it does not
    enter the line.
    """
    gate = ports.upstreams.gate_of(record)
    if gate is None or record.status.is_terminal:  # what is only to be stopped waits for no turn
        return None
    return await ports.gates.take(gate, place_at(record, held), again=again, stays=stays)


async def refused(ports: Ports, record: Record, held: Alarm | None, error: UpstreamError) -> Turn | None:
    """Close the gate of an upstream that has begun nothing, and return the response's place in the line.

    Returns None if the error closes no gate.
    """
    gate = ports.upstreams.gate_of(record)
    if gate is None or record.status.is_terminal or not closes(error):
        return None
    wait_s, reason = error.retry_after_s, str(error.waits_for)
    return await ports.gates.refuse(gate, place_at(record, held), retry_after_s=wait_s, reason=reason)


async def answered(ports: Ports, record: Record, held: Alarm) -> None:
    """Tell the gate that the upstream has answered a create with work, or with an error that closes no gate."""
    if gate := ports.upstreams.gate_of(record):
        await ports.gates.accepted(gate, record.id if held.attempt else None)


async def failed(ports: Ports, record: Record, held: Alarm) -> None:
    """Tell the gate that a create has failed that may have begun work. The response keeps its permit."""
    if gate := ports.upstreams.gate_of(record):
        await ports.gates.failed(gate, place_of(record), record.id if held.attempt else None)


def place_at(record: Record, held: Alarm | None) -> Place:
    """Return what a gate keeps of a response, whose `start` alarm moves from where it is held to the deadline.

    A run has no `start` alarm yet. It gets one at its deadline.
    """
    due_ms = held.at(record.deadline_ms).due_ms if held else record.deadline_ms
    return place_of(record, due_ms)


async def wait(ports: Ports, record: Record, held: Alarm, turn: Turn, detail: str = "") -> Record:
    """Let a response wait for its turn, after its place is committed, and return its record.

    The create that `held` counts was not made, or has begun nothing. If the alarm is gone, another process acts on it.
    """
    waits = waiting_for(record.wait, turn, detail, ports.clock.now_ms())
    place = place_at(record, held)
    alarm = held.at(record.deadline_ms, tries=0, attempt=0, counted=max(0, held.counted - 1))

    def transition(current: Record) -> ChangeSet | None:
        if current.status.is_terminal:
            return None
        return upstream_transitions.wait_for_turn(current, waits, alarm)

    now, is_waiting = await exchange(ports, record, held, transition)
    if now and is_waiting:
        return now
    return await leave_if_over(ports, record, place)


async def leave_if_over(ports: Ports, record: Record, place: Place) -> Record:
    """Give back the place of a response that has ended meanwhile. Return its record as it is now."""
    now = await ports.store.read(record.id)
    gate = ports.upstreams.gate_of(record)
    if gate and (now is None or now.status.is_terminal):
        await ports.gates.leave(gate, place)
    return now or record


def waiting_for(before: WaitInfo, turn: Turn, detail: str, now_ms: int) -> WaitInfo:
    """Return what a response waits for at its place in a line.

    `detail` is what its own try has met just now. Without a try, what an earlier one has met for this reason stays.
    """
    reason = reason_of(turn.reason)
    found = before.after(reason, detail, now_ms, turn.next_ms)
    if not detail:
        stays = before if before.reason == reason else replace(found, tries=0)
        found = replace(stays, next_ms=turn.next_ms)
    number = turn.number or (before.number if before.gate == turn.gate else 0)
    return replace(found, place=turn.place or 0, gate=turn.gate, number=number)


# Runs


def start_alarm(record: Record) -> Alarm:
    """Return the `start` alarm of a run that waits for its turn, at its deadline."""
    return Alarm(
        record.deadline_ms,
        Kind.START,
        record.id,
        born_ms=record.created_ms,
        deadline_ms=record.deadline_ms,
        trace=record.trace,
    )


async def wait_instead_of_running(ports: Ports, record: Record, held: Alarm, turn: Turn) -> bool:
    """Put a run without a holder into the line, in place of its `run` alarm. Return whether this process did so."""
    waits = waiting_for(record.wait, turn, "", ports.clock.now_ms())

    def transition(current: Record) -> ChangeSet | None:
        if current.status.is_terminal or current.run.epoch != record.run.epoch:
            return None
        return run_transitions.wait_in_line(current, waits, start_alarm(current), takes_back=False)

    _, is_waiting = await exchange(ports, record, held, transition)
    if not is_waiting:
        await leave_if_over(ports, record, place_at(record, None))
    return is_waiting


async def offer(ports: Ports, record: Record, held: Alarm) -> None:
    """Offer a run that has its permit, in place of its `start` alarm."""
    now_ms = ports.clock.now_ms()

    def transition(current: Record) -> ChangeSet | None:
        return None if current.status.is_terminal else run_transitions.offer_first(current, now_ms)

    if not (await exchange(ports, record, held, transition))[1]:
        await leave_if_over(ports, record, place_at(record, held))


def is_waiting_run(record: Record, alarm: Alarm) -> bool:
    """Return whether a `start` alarm belongs to a run, which has waited for its turn."""
    return record.run.mode is ExecutionMode.RUN and alarm.kind is Kind.START
