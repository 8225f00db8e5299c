"""Routes: which upstream serves a model, and which one has taken a response.

A response stays with the upstream whose name its record has. The default upstream and the agents have no name there.
Models and tokens of agents begin with a prefix.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.core.alarms import Alarm
from shared.core.errors import NotFound
from shared.core.gates.state import Gate
from shared.core.records import Record
from shared.upstreams.protocol import Upstream
from shared.upstreams.relay import Relay
from shared.upstreams.removed import RemovedUpstream
from shared.upstreams.specs import ANY, DEFAULT, UpstreamSpec

_AGENTS = UpstreamSpec(models=(), is_background=False)


@dataclass(frozen=True, slots=True)
class Route:
    """An upstream, what the deployment says about it, and what passes other calls on to it."""

    upstream: Upstream
    spec: UpstreamSpec = field(default_factory=UpstreamSpec)
    relay: Relay | None = None

    @property
    def name(self) -> str:
        """The name that a record of this upstream has."""
        return self.spec.known_name

    def gate(self, model: str | None) -> Gate | None:
        """Return the gate that responses to a model pass, or None for agents.

        A model has a gate of its own if a pattern of `max_in_flight` names it.
        """
        if self.is_agent:
            return None
        pattern, is_gone = self.spec.limit_of(model), isinstance(self.upstream, RemovedUpstream)
        name = self.spec.name if pattern == ANY else f"{self.spec.name}/{pattern}"
        return Gate(name, self.spec.limits.get(pattern), is_gone)

    @property
    def is_agent(self) -> bool:
        """Whether these are the agents, which no setting names."""
        return self.spec is _AGENTS


class Upstreams:
    """The upstreams of a deployment: those of the settings, in their order, and the agents by their prefix."""

    def __init__(self, routes: Sequence[Route], agents: Mapping[str, Upstream] | None = None) -> None:
        self._routes = {route.spec.name: route for route in routes}
        self._agents = {prefix: Route(upstream, _AGENTS) for prefix, upstream in (agents or {}).items()}

    @property
    def routes(self) -> tuple[Route, ...]:
        """The routes of the settings, in their order."""
        return tuple(self._routes.values())

    def serving(self, model: str | None) -> Route | None:
        """Return the route of a new response to a model, or None if no upstream serves it."""
        if route := self._agent(model):
            return route
        return next((route for route in self.routes if route.spec.serves(model)), None)

    def route(self, model: str | None) -> Route:
        """Return as `serving`. Raise NotFound if no upstream serves the model."""
        if found := self.serving(model):
            return found
        raise NotFound(f"The model '{(model or '')[:100]}' does not exist.", param="model", code="model_not_found")

    def named(self, name: str) -> Route:
        """Return the route of a name, as records or as the settings have it. A removed one only fails."""
        known = name or DEFAULT
        return self._routes.get(known) or Route(RemovedUpstream(known), UpstreamSpec(known, models=()))

    def of(self, record: Record) -> Route:
        """Return the route of a response."""
        name = record.upstream.name
        return (None if name else self._agent(record.request.model)) or self.named(name)

    def gate_of(self, record: Record) -> Gate | None:
        """Return the gate that a response passes, or None if it passes none."""
        return self.of(record).gate(record.request.model)

    def of_alarm(self, alarm: Alarm) -> Route:
        """Return the route of the upstream that has issued the token of an alarm."""
        return (None if alarm.upstream else self._agent(alarm.token)) or self.named(alarm.upstream)

    def others(self, record: Record) -> tuple[Route, ...]:
        """Return the other upstreams that the settings allow for a response if its own cannot begin, best first."""
        home = self.serving(record.request.model)
        chain = (home, *self.after(home)) if home else ()
        return tuple(route for route in chain if route.name != record.upstream.name)

    def after(self, route: Route) -> tuple[Route, ...]:
        """Return the upstreams to try after this one, as its `then` names them."""
        return tuple(map(self.named, route.spec.then))

    def gate_named(self, name: str) -> Gate:
        """Return the gate of this name. One that is not in the settings lets everything through."""
        upstream, _, pattern = name.partition("/")
        route = self._routes.get(upstream)
        limit = route.spec.limits.get(pattern or ANY) if route else None
        return Gate(name, limit, is_gone=route is None or (bool(pattern) and limit is None))

    def agent_names(self) -> list[str]:
        """Return the names of the models of the agents, as far as they are known."""
        return [name for route in self._agents.values() for name in route.upstream.names()]

    async def aclose(self) -> None:
        """Close the connections of all upstreams."""
        for route in (*self._routes.values(), *self._agents.values()):
            await route.upstream.aclose()

    def _agent(self, named: str | None) -> Route | None:
        """Return the route of the agents whose prefix a model or a token has, or None."""
        return next((route for prefix, route in self._agents.items() if (named or "").startswith(prefix)), None)
