"""The check of a gate's rows, once a minute by one process: what deaths and damage have left behind."""

import asyncio
from collections import Counter
from collections.abc import Sequence
from uuid import uuid4

from shared.core.errors import Conflict, StoreError, UnreadableRow
from shared.core.gates import lines, phases
from shared.core.gates.plans import Changes
from shared.core.gates.requests import Kind
from shared.core.gates.state import Gate, GateState, Hold
from shared.gates.agent import Agent
from shared.gates.tools import Listeners, Tools
from shared.storage.gates.gate_table import GateTable
from shared.telemetry.logs import logger

REPORTED_MS = 30_000  # a grant that its process has not acted on for so long is reported again
OVERLAP_MS = 120_000  # and was not looked at by this long before the last check
AUDITED_MS = 60_000  # the age at which a permit is audited
_AT_ONCE = 16

_log = logger(__name__)


async def check(agent: Agent, table: GateTable, tools: Tools, listeners: Listeners) -> None:
    """Compare the counts of a gate with its rows, report old grants again, and give back permits of ended responses.

    Tells that the gate is closed, if it is. Does nothing if a process has done so within the last 55 s. Raises
    StoreUnavailable or UnreadableRow.
    """
    last_ms = agent.view.checked_ms if agent.view else 0
    if await agent.ask(Kind.CHECK) is not None:
        return
    now_ms = tools.now_ms()
    _tell_if_shut(agent, now_ms)
    holds = await _mend(agent, table)
    old = [hold for hold in holds if last_ms - OVERLAP_MS <= hold.since_ms < now_ms - REPORTED_MS]
    if told := [hold.place for hold in old if hold.place.start_due_ms]:
        await agent.report(told)
    if agent.view and _is_wanted(agent.gate, agent.view):
        await _audit(agent, [hold for hold in holds if hold.since_ms < now_ms - AUDITED_MS], listeners)


def _tell_if_shut(agent: Agent, now_ms: int) -> None:
    """Log that a gate is closed, or waits for its probe.

    Only a probe an interval meets the upstream then, so the refused tries are too few to raise an alert. These lines do
    it. The check is made once a minute over all processes, so they count minutes.
    """
    view = agent.view
    if view and phases.is_shut(view, now_ms):
        seen = {"waits_for": view.reason, "waiting": view.waiting, "phase": view.phase, "until": view.until_ms / 1000}
        _log.warning("gate.closed", extra={"gate": agent.gate.name, **seen})


def _is_wanted(gate: Gate, view: GateState) -> bool:
    """Return whether a permit that a death has left would be missed.

    It would at a full gate without a line, too: a response that tries it by `then` does not wait there.
    """
    return bool(view.waiting) or gate.limit is None or gate.is_gone or view.used >= gate.limit


async def _mend(agent: Agent, table: GateTable) -> list[Hold]:
    """Correct counts that are not those of the rows, and return the permits.

    Every change of a row changes the gate, so counts that were read while the gate stayed the same are right.
    """
    name = agent.gate.name
    stored = await table.read(name)
    holds, waiting = await asyncio.gather(table.holds(name), table.waiting(name))
    if stored is None:
        return holds
    state = lines.mended(stored.state, Counter(hold.place.caller for hold in holds), waiting)
    if state != stored.state:
        try:
            await table.commit(name, stored, state, Changes(), uuid4().hex[:16])
        except Conflict:
            return holds  # it has changed meanwhile, and the next check compares again
        agent.look_again()
        _log.warning("gate.mended", extra={"gate": name})
    return holds


async def _audit(agent: Agent, holds: Sequence[Hold], listeners: Listeners) -> None:
    """Give back the permits of responses that have ended."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def audit(hold: Hold) -> None:
        async with room:
            try:
                if await listeners.is_over(agent.gate, hold.place.id):
                    await agent.ask(Kind.RELEASE, hold.place)
                    _log.warning("gate.permit_recovered", extra={"response_id": hold.place.id})
            except (StoreError, UnreadableRow):
                _log.warning("gate.unaudited", extra={"response_id": hold.place.id})

    await asyncio.gather(*(audit(hold) for hold in holds))
