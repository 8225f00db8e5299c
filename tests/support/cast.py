"""The upstreams on a stage: the default one, those that a test adds, and agents."""

from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Any, cast

from shared.upstreams.protocol import Upstream
from shared.upstreams.routes import Route, Upstreams
from shared.upstreams.specs import UpstreamSpec
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.fakes.relays import ScriptedRelay


class Cast(ABC):
    """What the settings of a test say about upstreams. A change holds in this process, and in those made later."""

    def __init__(self) -> None:
        self.upstream = ScriptedUpstream()
        self.relay = ScriptedRelay()
        self.spec = UpstreamSpec()
        self.routes: list[Route] = []  # of further upstreams, which come before the default one
        self.others: dict[str, Upstream] = {}

    @abstractmethod
    def change(self, **ports: Any) -> None:
        """Replace ports from now on."""

    def cast(self, upstream: ScriptedUpstream) -> None:
        """Replace the default upstream."""
        self.upstream = upstream
        self.change(upstreams=self.made_upstreams())

    def treat(self, **changes: Any) -> None:
        """Change what the settings say about the default upstream, in every process from now on."""
        self.spec = replace(self.spec, **changes)
        self.change(upstreams=self.made_upstreams())

    def add_upstream(self, spec: UpstreamSpec, upstream: ScriptedUpstream, relay: ScriptedRelay | None = None) -> None:
        """Add an upstream to the settings, before the default one, in every process from now on."""
        self.routes.append(Route(cast("Upstream", upstream), spec, relay))
        self.change(upstreams=self.made_upstreams())

    def remove_upstreams(self) -> None:
        """Leave only the default upstream in the settings."""
        self.routes.clear()
        self.change(upstreams=self.made_upstreams())

    def register_agent(self, prefix: str, upstream: Upstream) -> None:
        """Let another upstream serve models with this prefix, in every process from now on."""
        self.others[prefix] = upstream
        self.change(upstreams=self.made_upstreams())

    def made_upstreams(self) -> Upstreams:
        """Return the upstreams as the settings have them now."""
        upstream = cast("Upstream", self.upstream)  # background or foreground, as the test sets it
        return Upstreams([*self.routes, Route(upstream, self.spec, self.relay)], self.others)
