"""The tries of a run's start, until the upstream has accepted the work.

A try is counted before it is made. What a failed one means is in `upstreams/tries`.
"""

from typing import Any

from shared.core.errors import UpstreamError, UpstreamUncertain
from shared.runs.lease import Lease
from shared.runtime.ports import Ports
from shared.starts import failed_starts, turns
from shared.starts.rerouting import Round
from shared.transitions import upstream_transitions
from shared.upstreams import tries
from shared.upstreams.protocol import Upstream
from shared.upstreams.tries import Meaning, NextTry


class StartTries:
    """The tries that one holder of a run makes."""

    def __init__(self, ports: Ports, lease: Lease, request: dict[str, Any]) -> None:
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
        """Count a try before it is made. Raise UpstreamUncertain if earlier holders have used them up."""
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
        was_granted_elsewhere = record.run.epoch > 1
        gate = self._ports.upstreams.gate_of(record)
        if gate and (was_granted_elsewhere or not gates.is_free(gate)):
            self._ports.background.start(gates.accepted(gate, record.id if was_granted_elsewhere else None))

    async def move(self, error: UpstreamError) -> Upstream | None:
        """Give the response to another upstream after a failed try, and return it, or None if it stays.

        The next try has the place of the failed one, which began nothing.
        """
        record = self._lease.record
        route = await self._round.entered(record, error, record.upstream.counted)
        if route is None:
            return None
        name, model = route.name, route.spec.renamed(record.request.model)
        try:
            await self._lease.write(lambda current: upstream_transitions.reroute(current, name, model))
        finally:
            if self._lease.record.upstream.name != name:
                await self._round.leave(record, route)
        if self._lease.record.upstream.name != name:
            return None
        self._is_trying = False
        return route.upstream

    def wait_in_line_after(self, error: UpstreamError) -> bool:
        """Return whether the response waits for its turn after an error of a try."""
        return turns.closes(error) and self._ports.upstreams.gate_of(self._lease.record) is not None

    async def wait_in_line(self, error: UpstreamError) -> None:
        """Close the gate of an upstream that takes nothing now, and put the run into the line.

        Raises Lost if this process has lost the run.
        """
        record = self._lease.record
        self._is_counted, self._is_trying = True, False  # the place of a try that began nothing
        self._lease.concluded.clear()  # a client that leaves now must not have the run offered
        try:
            place = turns.place_at(record, None)
            if line := await self._round.first_line(record, place, error, record.upstream.counted):
                turn, first = line
                await self._lease.wait_in_line(turn, str(error), first)
            elif stays := await self._lease.insist(lambda: turns.refused(self._ports, record, None, error)):
                await self._lease.wait_in_line(stays, str(error))
        finally:
            self._lease.concluded.set()

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
