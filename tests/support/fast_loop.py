"""An event loop whose clock can be put forward, for what waits longer than a test may take."""

import asyncio
from typing import Any


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be put forward: what waits for a deadline reaches it at once."""

    skipped_s = 0.0

    def time(self) -> float:
        """Return the loop's time."""
        return super().time() + self.skipped_s


BACKEND: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": SkippingLoop})
"""What a module's `anyio_backend` returns to run its tests on such a loop."""


def skip(seconds: float) -> None:
    """Put the clock of the running loop forward."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    loop.skipped_s += seconds
