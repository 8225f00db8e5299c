"""Rerouting: a response whose upstream cannot begin it is given to another one, as the settings say.

The record names the other upstream before the create is sent there. A repeat after a crash goes where the last one
went. Once a try may have begun work, or failed without an answer, the response stays where it is.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.errors import StoreError, UpstreamError
from shared.core.gates.state import place_of
from shared.core.records import Record
from shared.core.states import WaitReason
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import exchange
from shared.starts import turns
from shared.telemetry.logs import logger
from shared.transitions import upstream_transitions
from shared.upstreams import tries
from shared.upstreams.routes import Route

_log = logger(__name__)


def first_open(ports: Ports, route: Route, model: str | None) -> Route:
    """Return the first upstream that takes a new response now, as far as this process knows: its own, or one of `then`.

    If none does, return its own, in whose line the response waits.
    """
    found = [route, *(one for one in ports.upstreams.after(route) if _is_of_kind(one, route))]
    return next((one for one in found if _takes(ports, one, model)), route)


def _is_of_kind(route: Route, other: Route) -> bool:
    return route.upstream.is_background is other.upstream.is_background


def _takes(ports: Ports, route: Route, model: str | None) -> bool:
    gate = route.gate(model)
    return gate is None or ports.gates.is_open(gate)


class Round:
    """One try of a start at each upstream that the settings allow."""

    def __init__(self, ports: Ports, request: Mapping[str, Any]) -> None:
        """Take the request. One that continues what its upstream keeps is tried nowhere else."""
        self._ports = ports
        self._is_bound = any(request.get(name) is not None for name in ("previous_response_id", "conversation"))
        self._tried: set[str] = set()

    def following(self, record: Record, error: UpstreamError, counted: int) -> Route | None:
        """Return the upstream to try next after an error that began nothing, or None if the response stays.

        `counted` are the tries that may have begun work, the failed one included.
        """
        self._tried.add(record.upstream.name)
        if not self.may_move_after(record, error, counted):
            return None
        return next((route for route in self._others(record) if route.name not in self._tried), None)

    def may_move(self, record: Record, counted: int) -> bool:
        """Return whether another upstream may begin a response. `counted` is as in `following`."""
        may_have_begun = counted > 1 or record.upstream.bound or record.upstream.has_begun
        return not (self._is_bound or may_have_begun or record.status.is_terminal)

    def may_move_after(self, record: Record, error: UpstreamError, counted: int) -> bool:
        """Return whether another upstream may begin a response after an error. `counted` is as in `following`."""
        return self.may_move(record, counted) and _may_go_elsewhere(error)

    def _others(self, record: Record) -> Iterator[Route]:
        """Yield the other upstreams of a response that may take it now, best first."""
        own, model = self._ports.upstreams.of(record), record.request.model
        for route in self._ports.upstreams.others(record):
            gate = route.gate(model)
            if _is_of_kind(route, own) and not (gate and self._ports.gates.is_closed(gate)):
                yield route

    def first(self, record: Record) -> Route | None:
        """Return the first upstream of a response, or None if it is there, or if that one works in another way."""
        first, own = self._ports.upstreams.serving(record.request.model), self._ports.upstreams.of(record)
        is_elsewhere = first is not None and first.name != own.name and _is_of_kind(first, own)
        return first if is_elsewhere and first and first.gate(record.request.model) else None

    async def free_elsewhere(self, record: Record, *, again: bool) -> Route | None:
        """Take a permit of the first other upstream that has one free, and return it, or None if none has.

        `again`: the response may have asked before. An upstream whose storage fails has none.
        """
        for route in self._others(record):
            if await self._take(record, route, again=again):
                return route
        return None

    async def _take(self, record: Record, route: Route, *, again: bool) -> bool:
        gate = route.gate(record.request.model)
        try:
            return gate is None or not await self._ports.gates.take(gate, place_of(record), again=again, stays=False)
        except StoreError:
            _log.warning("start.not_rerouted", extra={"response": record.id, "upstream": route.name})
            await self.leave(record, route)
            return False

    async def entered(self, record: Record, error: UpstreamError, counted: int) -> Route | None:
        """Take a permit of the next upstream that has one, and return it, or None if the response stays.

        The upstream that could not begin is closed for all, and gets its permit back. If storage fails then, the
        response stays. `counted` is as in `following`.
        """
        while route := self.following(record, error, counted):
            if await self._take(record, route, again=False):
                seen = {"upstream": route.spec.name, **tries.seen(error)}
                _log.warning("start.rerouted", extra={"response": record.id, **seen})
                if await self._closed(record, error):
                    return route
                await self.leave(record, route)
                return None
            self._tried.add(route.name)
        return None

    async def _closed(self, record: Record, error: UpstreamError) -> bool:
        try:
            await self.close(record, error)
        except StoreError:
            return False
        return True

    async def close(self, record: Record, error: UpstreamError) -> None:
        """Close the upstream that could not begin a response, and give back the response's permit of it."""
        if own := self._ports.upstreams.gate_of(record):
            reason, wait_s = str(error.waits_for), error.retry_after_s
            await self._ports.gates.refuse(own, place_of(record), retry_after_s=wait_s, reason=reason, stays=False)

    async def leave(self, record: Record, route: Route) -> None:
        """Give back the permit of an upstream that a response does not move to after all."""
        gate = route.gate(record.request.model)
        if gate and self._ports.gates.may_have_given(gate):
            await self._ports.gates.leave(gate, place_of(record))

    async def move(self, record: Record, held: Alarm, error: UpstreamError) -> tuple[Record, Alarm] | None:
        """Give a response to the next upstream. Return as `move_to`, and None if there is no other upstream."""
        route = await self.entered(record, error, held.counted)
        try:
            return await self.move_to(record, held, route) if route else None
        except StoreError:
            return None

    async def move_to(self, record: Record, held: Alarm, route: Route) -> tuple[Record, Alarm] | None:
        """Give a response to an upstream. Return its record, and its `start` alarm, which replaces `held`.

        Returns None if this process no longer owns the alarm. Then the permit of that upstream is given back only if
        the response has ended: otherwise the process that acts on it may have found the permit, and an audit decides.
        Raises StoreError, after giving the permit back.
        """
        alarm = held.at(self._ports.clock.now_ms() + LEASE_MS[Kind.START])
        name, model = route.name, route.spec.renamed(record.request.model)

        def transition(current: Record) -> ChangeSet | None:
            return upstream_transitions.reroute(current, name, model, alarm)

        try:
            now, is_moved = await exchange(self._ports, record, held, transition)
        except StoreError:
            await self.leave(record, route)
            raise
        if now and is_moved:
            return now, alarm
        if now is None or now.status.is_terminal:
            await self.leave(record, route)
        return None


def _may_go_elsewhere(error: UpstreamError) -> bool:
    """Return whether an error of a create sends it to another upstream: no connection, 425, 429 or 503.

    A refused credential does not. Somebody must mend it, and another upstream would hide it.
    """
    return turns.closes(error) and error.waits_for is not WaitReason.CREDENTIALS
