"""A build of the service as something to measure."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from local.bench.loads.stage import Stage, stage
from local.bench.loads.target import Target
from local.credentials.keys import Credentials
from local.stack.stack import HERE, Served


@dataclass(frozen=True)
class Build:
    """The app of a checkout, served by this checkout's local host, model and receiver."""

    name: str = "this build"
    served: Served = HERE
    about: str = "on this checkout's local host"

    def stage(
        self,
        *,
        tapped: bool = False,
        webhooks: bool = False,
        extra: Mapping[str, str] | None = None,
        others: Sequence[Credentials] = (),
    ) -> AbstractContextManager[Stage]:
        """Run a new stack with this app until the end of the block."""
        return stage(tapped=tapped, webhooks=webhooks, served=self.served, extra=extra, others=others)

    @contextmanager
    def open(self) -> Iterator[Target]:
        """Run it as a target until the end of the block."""
        with self.stage() as running:
            yield running.target
