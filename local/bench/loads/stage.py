"""The stack for a run: new, always with the simulated model, and with its parts accessible to the meters."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from anyio.from_thread import start_blocking_portal

from local.azurite import Azurite
from local.bench.loads.target import Target, of_stack
from local.bench.meters.tap import Tap, tap
from local.credentials.keys import Credentials
from local.host import counting
from local.stack.stack import HERE, Served, Stack, stack

TAPPED = ("table", "queue")
COUNTED = {counting.SETTING: "true"}


@dataclass(frozen=True)
class Stage:
    """A running stack, and the tap in front of its storage or None."""

    stack: Stack
    tap: Tap | None

    @property
    def target(self) -> Target:
        """The service as a run drives and measures it."""
        return of_stack(self.stack)


@contextmanager
def stage(
    *,
    tapped: bool = False,
    webhooks: bool = False,
    served: Served = HERE,
    extra: Mapping[str, str] | None = None,
    others: Sequence[Credentials] = (),
) -> Iterator[Stage]:
    """Run a stack until the end of the block. With `tapped`, a tap between host and Azurite records the requests.

    With `webhooks`, the model sends the host a webhook when work has ended. `extra` are more settings of the host,
    which serves the app `served`. `others` are more callers.
    """
    os.environ.pop("UPSTREAM_BASE_URL", None)  # a real model takes an unknown time and costs money
    taps: list[Tap] = []
    with ExitStack() as cleanup:

        def connect(storage: Azurite) -> str:
            taps.append(_tap(cleanup, storage))
            return taps[0].through(storage.account())

        connected = connect if tapped else Azurite.account
        settings = COUNTED | dict(extra or {})
        running = cleanup.enter_context(
            stack(connect=connected, webhooks=webhooks, served=served, extra=settings, others=others)
        )
        yield Stage(running, taps[0] if taps else None)


def _tap(cleanup: ExitStack, storage: Azurite) -> Tap:
    """Run a tap in its own thread until the clean-up."""
    portal = cleanup.enter_context(start_blocking_portal())
    targets = {service: storage.ports[service] for service in TAPPED}
    return cleanup.enter_context(portal.wrap_async_context_manager(tap(targets)))
