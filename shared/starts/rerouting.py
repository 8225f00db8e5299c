"""Rerouting: a response whose upstream cannot begin it is given to another one, as the settings say.

The record names the other upstream before the create is sent there. A repeat after a crash goes where the last one
went. Once a try may have begun work, or failed without an answer, the response stays where it is.
"""

from collections.abc import Mapping
from typing import Any

from shared.core.alarms import LEASE_MS, Alarm, Kind
from shared.core.errors import Conflict, UpstreamError
from shared.core.records import Record
from shared.core.states import WaitReason
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import exchange
from shared.telemetry.logs import logger
from shared.transitions import upstream_transitions
from shared.upstreams import tries
from shared.upstreams.routes import Route
from shared.upstreams.tries import Meaning

_log = logger(__name__)


_ELSEWHERE = frozenset({WaitReason.UPSTREAM_DOWN, WaitReason.RATE_LIMIT})


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
        may_have_begun = counted > 1 or record.upstream.bound or record.upstream.has_begun
        if self._is_bound or may_have_begun or not _may_go_elsewhere(error):
            return None
        is_background = self._ports.upstreams.of(record).upstream.is_background
        for route in self._ports.upstreams.others(record):
            if route.name not in self._tried and route.upstream.is_background is is_background:
                _log.warning(
                    "start.rerouted", extra={"response": record.id, "upstream": route.spec.name, **tries.seen(error)}
                )
                return route
        return None

    async def move(self, record: Record, held: Alarm, error: UpstreamError) -> tuple[Record, Alarm] | None:
        """Give a response to the next upstream. Return its record, and its `start` alarm, which replaces `held`.

        Returns None if there is no other upstream, or if this process no longer owns the alarm.
        """
        route = self.following(record, error, held.counted)
        if route is None:
            return None
        alarm = held.at(self._ports.clock.now_ms() + LEASE_MS[Kind.START])
        name, model = route.name, route.spec.renamed(record.request.model)
        try:
            moved = await exchange(
                self._ports, record, held, lambda current: upstream_transitions.reroute(current, name, model, alarm)
            )
        except Conflict:
            return None
        return (moved, alarm) if moved else None


def _may_go_elsewhere(error: UpstreamError) -> bool:
    """Return whether an error of a create sends it to another upstream: no connection, 425, 429 or 503.

    A refused credential does not. Somebody must mend it, and another upstream would hide it.
    """
    return tries.of_error(error) is Meaning.FREE and error.waits_for in _ELSEWHERE
