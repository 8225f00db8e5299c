"""Two upstreams of the same models in the settings."""

from shared.upstreams.specs import UpstreamSpec
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.stage import Stage


class Upstreams:
    """Two upstreams of the same models, of which the second is tried if the first cannot begin."""

    def __init__(self, stage: Stage, *, is_background: bool = True) -> None:
        self.eu, self.us = ScriptedUpstream(), ScriptedUpstream()
        for name, upstream, then in (("eu", self.eu, ("us",)), ("us", self.us, ())):
            upstream.is_background = is_background
            spec = UpstreamSpec(
                name, models=("gpt-*",), is_background=is_background, then=then, rename={"gpt-5": f"{name}-5"}
            )
            stage.add_upstream(spec, upstream)

    @property
    def begun(self) -> tuple[int, int]:
        """How many pieces of work were begun at each."""
        return len(self.eu.works), len(self.us.works)
