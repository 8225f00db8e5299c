"""Gates: a limit on how many responses are at work at one upstream, over all processes.

A permit belongs to a response and is a row of the table. So no process that dies takes a permit with it.
"""

from dataclasses import dataclass

from shared.core.errors import StoreError, StoreUnavailable, UnreadableRow
from shared.core.gates import phases
from shared.core.gates.requests import Kind, Request
from shared.core.gates.state import Gate, GateState, Phase, Place, Turn
from shared.gates.agent import DEADLINE_S, NO_PLACE, Agent
from shared.gates.looks import Looks
from shared.gates.rounds import check
from shared.gates.tools import NOBODY, Listeners, Tools
from shared.storage.gates.gate_table import GateTable
from shared.telemetry.logs import logger

STALE_S = 1.0  # an older view of a gate says nothing about free permits
SHUT_S = 150.0  # an older one says nothing about a closed gate past its time: the next round is a minute later, or two
LOOK_S = 2.0  # for the read of a gate on behalf of a reader, who has something else to show

_log = logger(__name__)


@dataclass(frozen=True, slots=True)
class Outlook:
    """A gate after a round: its phase, its permits in use, and how many responses wait.

    `until_ms` is the time in unix milliseconds before which it grants no more, or 0. If responses wait, a round is
    needed then.
    """

    phase: Phase
    used: int
    waiting: int
    until_ms: int


@dataclass(frozen=True, slots=True)
class Shut:
    """A gate that lets nothing through but a probe: its name, why, and since when this process knows, in unix ms."""

    name: str
    reason: str
    since_ms: int


class Gates:
    """The gates of this process. Every method raises StoreUnavailable if storage fails, unless it says otherwise.

    Then it is not known whether it was carried out. Each may be called again.
    """

    def __init__(self, table: GateTable, tools: Tools, listeners: Listeners = NOBODY) -> None:
        self._table, self._tools, self._listeners = table, tools, listeners
        self._agents: dict[str, Agent] = {}
        self._registered = frozenset[str]()  # the names of the gates that had rows,
        self._registered_s = 0.0  # at this time, on the clock for durations
        self._looks: dict[str, Looks] = {}

    def listen(self, listeners: Listeners) -> None:
        """Tell these from now on what is committed. Nothing was asked of the gates before."""
        self._listeners = listeners
        self._agents.clear()
        self._looks.clear()

    async def take(self, gate: Gate, place: Place, *, again: bool = False, stays: bool = True) -> Turn | None:
        """Take a permit for a response, or a place in the line of its caller. Return None if it has a permit.

        `again` says that the response may have asked before. With `stays` false, a response that gets no permit does
        not enter the line, because another gate may have one. A gate without a limit needs no permit while it is open,
        as far as this process knows. Then nothing is read or written.
        """
        agent = self._agent(gate)
        if _is_unlimited(gate) and _is_open(agent.view):
            return None
        return await agent.submit(Request(Kind.TAKE, place, stays=stays), again=again)

    async def release(self, gate: Gate, response_id: str, caller: str) -> None:
        """Give back the permit of a response whose end is committed. Its line gets the permit in the same transaction.

        It is not an error if it has no permit.
        """
        agent = self._agent(gate)
        if agent.view is None and _is_unlimited(gate):
            return
        await agent.ask(Kind.RELEASE, Place(response_id, caller))

    async def refuse(
        self, gate: Gate, place: Place, *, retry_after_s: float | None, reason: str, stays: bool = True
    ) -> Turn:
        """Close a gate whose upstream has refused a response and has begun nothing.

        The response goes back to its old place in its line. `retry_after_s` is the wait in seconds that the upstream
        asked for, or None. With `stays` false the response only gives back its permit, because another gate has it.
        """
        agent = self._agent(gate)
        turn = await agent.submit(Request(Kind.REFUSE, place, retry_after_s, reason, stays))
        return turn or Turn(None, reason)

    def is_free(self, gate: Gate) -> bool:
        """Return whether responses need no permit now: there is no limit, and no refusal that this process knows of."""
        return _is_unlimited(gate) and _is_open(self._agent(gate).view)

    def may_have_given(self, gate: Gate) -> bool:
        """Return whether a response may have a permit, or a place in a line, as far as this process knows."""
        return not _is_unlimited(gate) or self._agent(gate).view is not None

    async def accepted(self, gate: Gate, response_id: str | None = None) -> None:
        """Note that the upstream has accepted a response, or has refused its request as wrong: it answers again.

        This never raises: the next probe will tell the same.

        It costs nothing unless this process knows that the gate waits for a probe. If another process has granted the
        permit, `response_id` names the response, and its permit is read to find out.
        """
        await self._note_probe(gate, Request(Kind.ACCEPT, NO_PLACE), response_id)

    async def failed(self, gate: Gate, place: Place, response_id: str | None = None) -> None:
        """Note that a create has failed, and that its response keeps its permit, because it may have begun work.

        If it was that of a probe, another response may try after a pause. This never raises, and costs as much as
        `accepted`. `response_id` is as there.
        """
        await self._note_probe(gate, Request(Kind.FAIL, place), response_id)

    async def _note_probe(self, gate: Gate, request: Request, response_id: str | None) -> None:
        agent = self._agent(gate)
        try:
            if response_id:
                await self.holds(gate, response_id)
        except StoreError:
            _log.warning("gate.acceptance_unwritten", extra={"gate": gate.name})
        if agent.view is None or agent.view.phase is not Phase.PROBING:
            return
        try:
            await agent.submit(request)
        except StoreError:
            _log.warning("gate.acceptance_unwritten", extra={"gate": gate.name})

    async def leave(self, gate: Gate, place: Place) -> None:
        """Take a response that has ended out of its line, or give back the permit that it was granted meanwhile.

        This never raises. If it fails, the response is granted a permit at its turn, and gives it back.
        """
        try:
            await self._agent(gate).ask(Kind.LEAVE, place, again=True)
        except StoreError:
            _log.warning("gate.place_kept", extra={"gate": gate.name, "response_id": place.id})

    async def holds(self, gate: Gate, response_id: str) -> bool:
        """Return whether a response has a permit, by one read."""
        try:
            hold = await self._table.hold(gate.name, response_id)
        except UnreadableRow as error:  # of a newer version, say: the response must not fail for it
            raise StoreUnavailable("a permit cannot be read") from error
        agent = self._agent(gate)
        if hold and (hold.phase is Phase.PROBING or agent.view is None):
            agent.suspect(hold.phase)
        return hold is not None

    def is_open(self, gate: Gate) -> bool:
        """Return whether a response would get a permit at once, as far as this process knows. Nothing is read.

        Old knowledge does not count, so the gate is asked again. That a gate is closed until a time counts till then.
        """
        agent = self._agent(gate)
        view = agent.view
        if view is None or gate.is_gone:
            return True
        now_ms = self._tools.now_ms()
        if view.phase in (Phase.CLOSED, Phase.PROBING) and now_ms < view.until_ms:
            return False
        if self._tools.elapsed_s() - agent.seen_s > STALE_S:
            return True
        return not view.waiting and phases.free(view, gate.limit, now_ms) != 0

    def is_closed(self, gate: Gate) -> bool:
        """Return whether a gate gives no permit for sure: its upstream has refused work, and asked for a time.

        Nothing is read. What this process knows of a probe or of permits says nothing for sure.
        """
        view = None if gate.is_gone else self._agent(gate).view
        return view is not None and view.phase is Phase.CLOSED and self._tools.now_ms() < view.until_ms

    async def round(self, gate: Gate) -> Outlook | None:
        """Do what a gate needs once a minute, and return how it then is, or None if it has no rows any longer.

        Permits that are free go to the lines. Once a minute over all processes, counts are compared with the rows, and
        permits of ended responses are given back. Nothing is done at a gate that only other processes have in their
        settings. Raises UnreadableRow, too.
        """
        agent = self._agent(gate)
        agent.look_again()
        await agent.ask(Kind.GRANT)
        if agent.view is None:
            await self._forget(gate.name)
            return None
        if not agent.view.is_of_others(gate, self._tools.now_ms()):
            await check(agent, self._table, self._tools, self._listeners)
        view = agent.view or GateState()
        return Outlook(view.phase, view.used, view.waiting, view.until_ms)

    async def seen(self, gate: Gate) -> GateState | None:
        """Return a gate as its row was within the last second, or None if it has none.

        A process reads the row at most once a second for this, however many ask, and waits for 2 s at most. Raises
        UnreadableRow, too.
        """
        return await self._looks_at(gate).seen(STALE_S, LOOK_S)

    async def look(self, gate: Gate) -> GateState | None:
        """Return a gate as its row is now, or None if it has none or one that cannot be read."""
        try:
            return await self._looks_at(gate).seen(0, DEADLINE_S)
        except UnreadableRow:
            _log.exception("gate.unreadable", extra={"gate": gate.name})
            return None

    async def registered(self) -> list[str]:
        """Return the names of the gates that have rows."""
        began_s, found = self._tools.elapsed_s(), await self._table.registered()
        self._registered, self._registered_s = frozenset(found), began_s
        return found

    def shut(self) -> list[Shut]:
        """Return the gates of the settings that let nothing through but a probe, as this process last saw them.

        Nothing is read. The rounds look at every gate that has rows, also for a process that has had no response.
        """
        return [
            Shut(name, agent.view.reason, agent.refused_ms)
            for name, agent in self._agents.items()
            if agent.view and agent.refused_ms and not agent.gate.is_gone and self._is_shut(agent, agent.view)
        ]

    def _is_shut(self, agent: Agent, view: GateState) -> bool:
        now_ms = self._tools.now_ms()
        if not phases.is_shut(view, now_ms) or now_ms < view.until_ms:
            return phases.is_shut(view, now_ms)
        is_gone = agent.gate.name not in self._registered and agent.seen_s < self._registered_s
        return not is_gone and self._tools.elapsed_s() - agent.seen_s <= SHUT_S

    async def _forget(self, name: str) -> None:
        """Remove a gate from the registry, unless it gets rows meanwhile."""
        registered = await self._table.registration(name)
        if registered and await self._table.read(name) is None:
            await self._table.unregister(name, registered)

    def _looks_at(self, gate: Gate) -> Looks:
        agent = self._agent(gate)
        return self._looks.setdefault(gate.name, Looks(agent, self._table, self._tools))

    def _agent(self, gate: Gate) -> Agent:
        agent = self._agents.get(gate.name)
        if agent is None:
            agent = self._agents[gate.name] = Agent(gate, self._table, self._tools, self._listeners)
        agent.gate = gate
        return agent


def _is_unlimited(gate: Gate) -> bool:
    return gate.limit is None or gate.is_gone


def _is_open(view: GateState | None) -> bool:
    return view is None or (view.phase is Phase.OPEN and not view.waiting)
