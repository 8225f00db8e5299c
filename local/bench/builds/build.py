"""A build of the service as something to measure."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

from local.bench.loads.stage import Stage, stage
from local.bench.loads.target import PROMPT, Target, Upstream
from local.credentials.keys import Credentials
from local.stack.stack import HERE, Served
from shared.deliveries.retry_policy import SCHEDULE_MS

CONFIGURED = (
    "A failed callback is sent again after 5 s, 5 min, 30 min, 2 h and so on, and after a 503 first after 10 s and "
    "60 s. A circuit breaker for each host opens after 5 failures in a row. A create call is answered when the "
    "upstream has, so a kill inside a start cuts its caller off, too, and that is no accepted response"
)
HONOURS_KEYS = "UPSTREAM_HONOURS_IDEMPOTENCY_KEY"


@dataclass(frozen=True)
class Build:
    """The app of a checkout, served by this checkout's local host, model and receiver."""

    name: str = "this build"
    served: Served = HERE
    about: str = "on this checkout's local host"

    @property
    def configured(self) -> str:
        """How it makes callbacks and answers, of this checkout."""
        return CONFIGURED if self.served == HERE else ""

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

    @property
    def retry_waits_s(self) -> Sequence[float]:
        """The waits of this checkout after a 500. Those of another commit are not known here."""
        return [wait_ms / 1000 for wait_ms in SCHEDULE_MS[1:]] if self.served == HERE else ()

    @contextmanager
    def open(self, upstream: Upstream = PROMPT) -> Iterator[Target]:
        """Run it as a target until the end of the block. It is told whether its upstream honours keys."""
        with self.stage(extra={HONOURS_KEYS: str(upstream.honours_keys).lower()}) as running:
            yield running.target
