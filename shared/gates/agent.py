"""The agent of a gate in a process: it gathers what the process's responses want, and writes it in transactions.

At most one transaction of an agent is under way, and what is wanted meanwhile goes with the next one. If another
process was first, the agent waits at random, reads the row of the gate, and plans again. There is no leader.
"""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from uuid import uuid4

from shared.core.errors import Conflict, StoreError, StoreUnavailable, UnreadableRow
from shared.core.gates import lines, plans, requests
from shared.core.gates.plans import Plan, Rows
from shared.core.gates.requests import Kind, Request
from shared.core.gates.state import Gate, GateState, Phase, Place, Turn
from shared.gates.timer import Timer
from shared.gates.tools import Listeners, Tools
from shared.storage.gates.gate_table import GateTable, NotAsPlanned
from shared.storage.gates.rows import StoredGate
from shared.telemetry import tracing
from shared.telemetry.logs import logger

GATHER_S = 0.005
PAUSE_MIN_S, PAUSE_MAX_S = 0.008, 0.25  # before the next try, after another process was first
LOOK_AFTER_MS = 10_000  # below the lease of a start
DEADLINE_S = 20.0  # for the tries of one transaction
NO_PLACE = Place("", "")

_log = logger(__name__)


@dataclass(frozen=True, slots=True, eq=False)
class _Wish:
    """A request and its answer. `again`: the response may have rows already, so they are looked at first.

    So they are after 10 s. By then another process may have asked for the response. `asked_ms` is unix milliseconds.
    """

    request: Request
    answer: asyncio.Future[Turn | None]
    asked_ms: int
    again: bool = False

    def may_have_rows(self, now_ms: int) -> bool:
        """Return whether the response may have a permit or a place."""
        return self.again or (self.request.kind is Kind.TAKE and now_ms >= self.asked_ms + LOOK_AFTER_MS)

    @property
    def is_dropped(self) -> bool:
        """Whether its permit is no longer wanted. What gives something back is carried out anyway."""
        return self.request.kind is Kind.TAKE and self.answer.cancelled()

    def fail(self, error: Exception) -> None:
        """Raise an error for who waits, unless there is an answer."""
        if not self.answer.done():
            self.answer.set_exception(error)
            self.answer.exception()  # no caller retrieves that of a wish of the agent itself

    def succeed(self, turn: Turn | None) -> None:
        """Answer who waits."""
        if not self.answer.done():
            self.answer.set_result(turn)


class Agent:
    """The only writer of one gate in this process. `view` is the gate as last seen, or None if it has no rows."""

    def __init__(self, gate: Gate, table: GateTable, tools: Tools, listeners: Listeners) -> None:
        self.gate = gate  # with its newest limit
        self.view: GateState | None = None
        self.seen_s = -inf  # when the view was made, on the clock for durations
        self.refused_ms = 0  # when this process first saw the gate closed or probing, in unix milliseconds, or 0
        self._table, self._tools, self._listeners = table, tools, listeners
        self._queue: list[_Wish] = []
        self._is_serving = False
        self._acting = set[asyncio.Task[None]]()  # on what was granted
        self._stored: StoredGate | None = None
        self._is_alone = False  # no other process has written since this one has
        self._timer = Timer(tools, self.grant)

    async def ask(self, kind: Kind, place: Place = NO_PLACE, *, again: bool = False) -> Turn | None:
        """Have a request carried out, and return its answer: None, or a Turn if the response must wait.

        `again` says that the response may have a permit or a place already. Raises StoreUnavailable after 20 s, or if
        storage fails. Then it is not known whether the request was carried out.
        """
        return await self.submit(Request(kind, place), again=again)

    async def submit(self, request: Request, *, again: bool = False) -> Turn | None:
        """Do as `ask` does, for a request that says more."""
        wish = self._add(request, again=again)
        return await wish.answer

    def grant(self) -> None:
        """Give what is free to the lines soon, from the row as it then stands."""
        self.look_again()
        self._add(Request(Kind.GRANT, NO_PLACE))

    async def report(self, places: Sequence[Place]) -> None:
        """Tell of grants again that nobody seems to have acted on."""
        self._tell(places)
        await self._act()

    def _tell(self, places: Sequence[Place]) -> None:
        acting = self._tools.start(self._listeners.on_granted(self.gate, places))
        self._acting.add(acting)
        acting.add_done_callback(self._acting.discard)

    async def _act(self) -> None:
        """Wait for what follows grants, if it would not go on after this invocation."""
        if not self._tools.goes_on:
            await asyncio.gather(*self._acting)

    def look_again(self) -> None:
        """Read the row of the gate before the next transaction."""
        self._is_alone = False

    def suspect(self, phase: Phase) -> None:
        """Note that another process has seen the gate in this phase."""
        self.view = replace(self.view or GateState(), phase=phase)  # as of before: its row was not read
        self.look_again()

    def see(self, view: GateState | None) -> None:
        """Note the gate as its row is now, or None if it has none."""
        self.view, self.seen_s = view, self._tools.elapsed_s()
        is_refused = view is not None and view.phase in (Phase.CLOSED, Phase.PROBING)
        self.refused_ms = (self.refused_ms or self._tools.now_ms()) if is_refused else 0

    # The queue

    def _add(self, request: Request, *, again: bool = False) -> _Wish:
        wish = _Wish(request, asyncio.get_running_loop().create_future(), self._tools.now_ms(), again)
        self._queue.append(wish)
        if not self._is_serving:
            self._is_serving = True
            with tracing.under(""):  # the task serves all responses
                self._tools.start(self._serve())
        return wish

    async def _serve(self) -> None:
        """Carry out what is wanted until nothing is."""
        try:
            await self._tools.sleep(GATHER_S)
            while batch := self._next_batch():
                await self._carry_out(batch)
        finally:
            self._is_serving = False
            for wish in self._queue:
                wish.fail(StoreUnavailable("the agent of a gate has ended"))
            self._queue.clear()

    def _next_batch(self) -> list[_Wish]:
        """Take out of the queue what fits into one transaction."""
        queue = [wish for wish in self._queue if not wish.is_dropped]
        has_line = self.view is not None and self.view.waiting > 0
        chosen = set(requests.fitting([wish.request for wish in queue], has_line=has_line))
        self._queue = [wish for index, wish in enumerate(queue) if index not in chosen]
        return [wish for index, wish in enumerate(queue) if index in chosen]

    async def _carry_out(self, batch: Sequence[_Wish]) -> None:
        try:
            plan = await self._commit(batch)
            await self._act()
            for wish, answer in zip(batch, plan.answers, strict=True):
                wish.succeed(answer)
        except (StoreError, UnreadableRow) as error:
            _log.warning("gate.unwritten", extra={"gate": self.gate.name, "reason": type(error).__name__})
            for wish in batch:
                wish.fail(StoreUnavailable("the gate could not be written"))
            self.look_again()
            self._timer.retry(self.view)
        finally:
            for wish in batch:
                wish.fail(StoreUnavailable("the agent of a gate has ended"))

    # One transaction

    async def _commit(self, batch: Sequence[_Wish]) -> Plan:
        """Plan and write until a plan is committed."""
        wanted = [wish.request for wish in batch]
        give_up_s, pause_s = self._tools.elapsed_s() + DEADLINE_S, PAUSE_MIN_S
        is_certain = not self._is_alone  # else the row may have changed since this process wrote it
        stored = await self._base()
        found = await self._look(batch)
        while self._tools.elapsed_s() < give_up_s:
            plan, stored = await self._plan(wanted, stored, found)
            is_idle = plan.is_idle(stored.state if stored else None)
            if is_idle and is_certain:
                self._note(stored)
                return plan
            if is_idle:  # no write follows that would fail if another process has written
                self.look_again()
                stored, found, is_certain = await self._base(), await self._look(batch), True
                continue
            write_id = uuid4().hex[:16]
            try:
                self._conclude(plan, stored, await self._write(plan, stored, write_id))
            except NotAsPlanned:
                places = [*plan.changes.places, *(one.place for one in wanted if one.place.id)]
                found |= await self._table.rows_of(self.gate.name, places)
            except Conflict:
                await self._tools.sleep(pause_s * self._tools.random())
                pause_s, before = min(pause_s * 2, PAUSE_MAX_S), stored
                stored = await self._read()
                if stored and write_id in stored.writes:
                    self._conclude(plan, before, stored)
                    return plan
                found = await self._look(batch)
            else:
                return plan
        raise StoreUnavailable("others write the gate all the time")

    async def _base(self) -> StoredGate | None:
        """Return the row that the next plan begins with: the one last written, if no other process writes."""
        if self._stored and self._is_alone:
            return self._stored
        last, read = self._stored, await self._read()
        self._is_alone = last is not None and read is not None and last.etag == read.etag
        return read

    async def _read(self) -> StoredGate | None:
        stored = await self._table.read(self.gate.name)
        self._is_alone = False
        self._note(stored)
        return stored

    async def _look(self, batch: Sequence[_Wish]) -> dict[str, Rows]:
        """Look at the rows of those that may have some. What is found holds while the row of the gate is unchanged."""
        now_ms = self._tools.now_ms()
        again = [wish.request.place for wish in batch if wish.may_have_rows(now_ms)]
        return await self._table.rows_of(self.gate.name, again) if again else {}

    async def _plan(
        self, wanted: Sequence[Request], stored: StoredGate | None, found: dict[str, Rows]
    ) -> tuple[Plan, StoredGate | None]:
        """Return the plan, and the row with the places that had to be read for it."""
        while True:
            before = stored.state if stored else None
            plan = plans.plan(self.gate, before, wanted, self._tools.now_ms(), found)
            if not plan.missing or stored is None:
                return plan, stored
            state = stored.state
            for caller in sorted(plan.missing):
                state = lines.with_places(state, caller, await self._table.first_places(self.gate.name, caller))
            stored = StoredGate(state, stored.etag, stored.writes)

    async def _write(self, plan: Plan, stored: StoredGate | None, write_id: str) -> StoredGate | None:
        """Write a plan. The registry names a gate before it has rows, and until after they are gone."""
        name, state = self.gate.name, None if plan.is_last else plan.state
        known = await self._table.registration(name) if plan.is_last else ""
        if stored is None:
            await self._table.register(name)
        written = await self._table.commit(name, stored, state, plan.changes, write_id)
        with suppress(StoreError):  # the next round of the gate repairs the registry
            if plan.is_last:
                await self._table.unregister(name, known)
            elif stored is None:
                await self._table.register(name)  # again, because the rows may have gone between the two
        return written

    def _conclude(self, plan: Plan, before: StoredGate | None, now: StoredGate | None) -> None:
        """Act on a plan that was committed."""
        self._note(now)
        if plan.more:
            self._add(Request(Kind.GRANT, NO_PLACE))
        if plan.granted:
            self._tell(plan.granted)
        was = before.state if before else GateState()
        if (plan.state.phase, plan.state.until_ms) != (was.phase, was.until_ms):
            self._timer.keep()
            if plan.state.phase is Phase.CLOSED:
                self._tools.start(self._listeners.on_closed(self.gate, plan.state.until_ms))
        if plan.changes.waits_in:  # nobody keeps the time of a gate whose line was empty
            self._timer.keep()
        self._timer.follow(self.view)

    def _note(self, stored: StoredGate | None) -> None:
        self._stored = stored
        self.see(stored.state if stored else None)
        self._timer.follow(self.view)
