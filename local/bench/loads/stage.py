"""The stack for a run: new, always with the simulated model, and with its parts accessible to the meters."""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from anyio.from_thread import start_blocking_portal

from local.azurite import Azurite
from local.bench.meters.tap import Tap, tap
from local.stack.stack import Stack, stack

TAPPED = ("table", "queue")


@dataclass(frozen=True)
class Stage:
    """A running stack, and the tap in front of its storage or None."""

    stack: Stack
    tap: Tap | None


@contextmanager
def stage(*, tapped: bool, webhooks: bool = False) -> Iterator[Stage]:
    """Run a stack until the end of the block. With `tapped`, a tap between host and Azurite records the requests.

    With `webhooks`, the model sends the host a webhook when work has ended.
    """
    os.environ.pop("UPSTREAM_BASE_URL", None)  # a real model takes an unknown time and costs money
    taps: list[Tap] = []
    with ExitStack() as cleanup:

        def connect(storage: Azurite) -> str:
            taps.append(_tap(cleanup, storage))
            return taps[0].through(storage.account())

        connected = connect if tapped else Azurite.account
        running = cleanup.enter_context(stack(connect=connected, webhooks=webhooks))
        yield Stage(running, taps[0] if taps else None)


def _tap(cleanup: ExitStack, storage: Azurite) -> Tap:
    """Run a tap in its own thread until the clean-up."""
    portal = cleanup.enter_context(start_blocking_portal())
    targets = {service: storage.ports[service] for service in TAPPED}
    return cleanup.enter_context(portal.wrap_async_context_manager(tap(targets)))
