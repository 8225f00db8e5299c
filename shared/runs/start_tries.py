"""The tries of a run's start, until the upstream has accepted the work.

A try is counted before it is made. What a failed one means is in `upstreams/tries`.
"""

from contextlib import suppress
from typing import Any

from shared.core.errors import StoreError, UpstreamError, UpstreamUncertain
from shared.core.gates.state import Gate, Turn, place_of
from shared.runs.lease import Lost, RunLease
from shared.runtime.ports import Ports
from shared.starts import failed_starts, turns
from shared.starts.rerouting import Round
from shared.transitions import upstream_transitions
from shared.upstreams import tries
from shared.upstreams.protocol import Upstream
from shared.upstreams.routes import Route
from shared.upstreams.tries import Meaning, NextTry


class StartTries:
    """The tries that one holder of a run makes."""

    def __init__(self, ports: Ports, lease: RunLease, request: dict[str, Any]) -> None:
        self._ports = ports
        self._lease = lease
        self._round = Round(ports, request)
        self._is_counted = not lease.record.upstream.has_begun  # the write that gave us the run counted the first try
        self._is_trying = False  # a create is under way that the upstream has not accepted yet
        self._free = 0  # tries in a row that began nothing

    @property
    def has_unused(self) -> bool:
        """Whether a try is counted that has not been made."""
        return self._is_counted and not self._is_trying

    def are_about(self, error: UpstreamError) -> bool:
        """Return whether an error is that of a try, and another one may follow."""
        return self._is_trying and tries.of_error(error) is not Meaning.END

    async def begin(self) -> None:
        """Count a try before it is made. Raise UpstreamUncertain if earlier holders have used them up.

        Raises Lost if this process has lost the run. A claim may take so long that its lease is past.
        """
        if not await self._lease.is_held():
            raise Lost
        if not self._is_counted:
            await self._lease.count_try()
        self._is_counted = self._is_trying = True
        record = self._lease.record
        if failed_starts.are_used_up(self._ports, record, record.upstream.counted):
            raise UpstreamUncertain("no try was finished")
        failed_starts.note_repeat(record, record.upstream.counted)

    def end(self) -> None:
        """Note that the upstream has accepted the work, which takes back the count of the try."""
        self._is_counted = self._is_trying = False
        record, gates = self._lease.record, self._ports.gates
        gate = self._ports.upstreams.gate_of(record)
        if gate and (self._granted_elsewhere(gate) or not gates.is_free(gate)):
            self._ports.background.start(gates.accepted(gate, self._granted_elsewhere(gate)))

    def _granted_elsewhere(self, gate: Gate) -> str | None:
        """Return the id of the response if another process may have got its permit, which may be that of a probe."""
        record = self._lease.record
        may_be = self._lease.was_offered and self._ports.gates.may_have_given(gate)
        return record.id if may_be or record.run.epoch > 1 else None

    async def note_answer(self, error: UpstreamError) -> None:
        """Tell the gate what the failure of a try says of its upstream.

        The upstream answers again if the error ends the work. If the try may have begun work, that is not known.
        """
        record, gates = self._lease.record, self._ports.gates
        gate = self._ports.upstreams.gate_of(record) if self._is_trying else None
        if gate and tries.of_error(error) is Meaning.END:
            await gates.accepted(gate, self._granted_elsewhere(gate))
        elif gate and tries.may_have_begun(error):
            await gates.failed(gate, place_of(record), self._granted_elsewhere(gate))

    async def move(self, error: UpstreamError) -> Upstream | None:
        """Give the response to another upstream after a failed try, and return it, or None if it stays.

        The next try has the place of the failed one, which began nothing.
        """
        record = self._lease.record
        route = await self._round.entered(record, error, record.upstream.counted)
        if route is None:
            return None
        try:
            await self._move_to(route)
        finally:
            if not self._is_at(route):
                await self._round.leave(record, route)
        if not self._is_at(route):
            return None
        self._is_trying = False
        return route.upstream

    async def _move_to(self, route: Route) -> None:
        name, model = route.name, route.spec.renamed(self._lease.record.request.model)
        await self._lease.write(lambda current: upstream_transitions.reroute(current, name, model))

    def _is_at(self, route: Route) -> bool:
        return self._lease.record.upstream.name == route.name

    def wait_in_line_after(self, error: UpstreamError) -> bool:
        """Return whether the response waits for its turn after an error of a try."""
        return turns.closes(error) and self._ports.upstreams.gate_of(self._lease.record) is not None

    async def wait_in_line(self, error: UpstreamError) -> Upstream | None:
        """Close the gate of an upstream that takes nothing now, and put the run into the line of its first one.

        If the first one has a permit free again, return it, because it is tried next. Returns None otherwise. Raises
        Lost if this process has lost the run.
        """
        self._is_counted, self._is_trying = True, False  # the place of a try that began nothing
        self._lease.concluded.clear()  # a client that leaves now must not have the run offered
        try:
            first = await self._moved_to_first(error)
            turn = await self._lease.insist(lambda: self._turn(error, is_new=first is not None))
            if turn:
                await self._give_up(turn, str(error))
            return first.upstream if first and turn is None else None
        finally:
            self._lease.concluded.set()

    async def _give_up(self, turn: Turn, detail: str) -> None:
        """Give up the run, which has a place in the line. If the response has ended meanwhile, leave the line."""
        try:
            await self._lease.wait_in_line(turn, detail)
        except Lost:
            with suppress(StoreError):
                await turns.leave_if_over(self._ports, self._lease.record, turns.place_at(self._lease.record, None))
            raise

    async def _moved_to_first(self, error: UpstreamError) -> Route | None:
        """Give the response to its first upstream, and return that, or None if it stays where it is.

        The record names it before the response enters its line, because a grant is given back otherwise.
        """
        before = self._lease.record
        may_move = self._round.may_move_after(before, error, before.upstream.counted)
        if (first := self._round.first(before) if may_move else None) is None:
            return None
        await self._move_to(first)
        if not self._is_at(first):
            return None
        await self._lease.insist(lambda: self._round.close(before, error))
        return first

    async def _turn(self, error: UpstreamError, *, is_new: bool) -> Turn | None:
        if is_new:
            return await turns.ask(self._ports, self._lease.record, None, again=True)
        return await turns.refused(self._ports, self._lease.record, None, error)

    def following(self, error: UpstreamError) -> NextTry | None:
        """Return the try that follows a failed one at the same upstream, or None if there is none."""
        record = self._lease.record
        counted, honours_keys = record.upstream.counted, self._ports.upstreams.of(record).spec.honours_keys
        found = tries.next_try(error, counted, self._free, self._ports.random, honours_keys=honours_keys)
        if found:
            self._free = found.free
            self._is_counted = found.counted < counted  # the next try has the place of one that began nothing
            self._is_trying = False
        return found
