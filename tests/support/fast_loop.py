"""An event loop whose clock can be moved forward, for waits that are longer than a test may take."""

import asyncio
from typing import Any


class SkippingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock can be moved forward. A wait whose deadline is passed by that ends at once."""

    skipped_s = 0.0

    def time(self) -> float:
        """Return the loop's time, with the skipped seconds added."""
        return super().time() + self.skipped_s


BACKEND: tuple[str, dict[str, Any]] = ("asyncio", {"loop_factory": SkippingLoop})
"""The value that a module's `anyio_backend` returns to run its tests on such a loop."""


def skip(seconds: float) -> None:
    """Move the clock of the running loop forward."""
    loop = asyncio.get_running_loop()
    assert isinstance(loop, SkippingLoop)
    loop.skipped_s += seconds
