"""Rerouting: a response whose upstream cannot begin it is given to another one, as the settings say.

The record names the other upstream before the create is sent there. A repeat after a crash goes where the last one
went. Once a try may have begun work, or failed without an answer, the response stays where it is.
"""

from collections.abc import Mapping
from typing import Any

from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.changesets import ChangeSet
from shared.core.errors import StoreError, UpstreamError
from shared.core.gates.state import Place, Turn, place_of
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
        if not self._may_move(record, error, counted):
            return None
        own = self._ports.upstreams.of(record)
        for route in self._ports.upstreams.others(record):
            is_another = route.name not in self._tried and _is_of_kind(route, own)
            if is_another and _takes(self._ports, route, record.request.model):
                seen = {"upstream": route.spec.name, **tries.seen(error)}
                _log.warning("start.rerouted", extra={"response": record.id, **seen})
                return route
        return None

    def _may_move(self, record: Record, error: UpstreamError, counted: int) -> bool:
        may_have_begun = counted > 1 or record.upstream.bound or record.upstream.has_begun
        return not (self._is_bound or may_have_begun) and _may_go_elsewhere(error)

    async def first_line(
        self, record: Record, place: Place, error: UpstreamError, counted: int
    ) -> tuple[Turn, Route] | None:
        """Take a place in the line of the first upstream of a response, if another one could not begin it.

        Return the place and that upstream, or None if the response stays: it is at the first one, or storage fails, or
        that line is gone. The upstream that could not begin is closed for all. `place` is the response's with the time
        of its `start` alarm. `counted` is as in `following`.
        """
        first, own = self._ports.upstreams.serving(record.request.model), self._ports.upstreams.of(record)
        if first is None or first.name == own.name or not self._may_move(record, error, counted):
            return None
        gate = first.gate(record.request.model)
        if gate is None or not _is_of_kind(first, own):
            return None
        try:
            if turn := await self._ports.gates.take(gate, place, again=True):
                await self._close_own(record, error)
                return turn, first
        except StoreError:
            _log.warning("start.not_rerouted", extra={"response": record.id, "upstream": first.name})
        await self._ports.gates.leave(gate, place)
        return None

    async def entered(self, record: Record, error: UpstreamError, counted: int) -> Route | None:
        """Take a permit of the next upstream that has one, and return it, or None if the response stays.

        The upstream that could not begin is closed for all, and gets its permit back. If storage fails, the response
        stays. `counted` is as in `following`.
        """
        while route := self.following(record, error, counted):
            try:
                if await self._enter(record, route, error):
                    return route
            except StoreError:
                await self.leave(record, route)
                return None
            self._tried.add(route.name)
        return None

    async def _enter(self, record: Record, route: Route, error: UpstreamError) -> bool:
        gate, place = route.gate(record.request.model), place_of(record)
        if gate and await self._ports.gates.take(gate, place):
            await self._ports.gates.leave(gate, place)
            return False
        await self._close_own(record, error)
        return True

    async def _close_own(self, record: Record, error: UpstreamError) -> None:
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
        """Give a response to the next upstream. Return its record, and its `start` alarm, which replaces `held`.

        Returns None if there is no other upstream, or if this process no longer owns the alarm.
        """
        route = await self.entered(record, error, held.counted)
        if route is None:
            return None
        alarm = held.at(self._ports.clock.now_ms() + LEASE_MS[Kind.START])
        name, model = route.name, route.spec.renamed(record.request.model)

        def transition(current: Record) -> ChangeSet | None:
            return upstream_transitions.reroute(current, name, model, alarm)

        try:
            moved, is_moved = await exchange(self._ports, record, held, transition)
        except StoreError:
            moved, is_moved = None, False
        if moved and is_moved:
            return moved, alarm
        await self.leave(record, route)
        return None


def _may_go_elsewhere(error: UpstreamError) -> bool:
    """Return whether an error of a create sends it to another upstream: no connection, 425, 429 or 503.

    A refused credential does not. Somebody must mend it, and another upstream would hide it.
    """
    return turns.closes(error) and error.waits_for is not WaitReason.CREDENTIALS
