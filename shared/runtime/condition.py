"""A condition variable for the tasks of one event loop. It has no lock, because such tasks do not run at once."""

import asyncio
from collections.abc import Callable


class Condition:
    """Wakes tasks when what they wait for is true.

    asyncio's own condition wakes every waiting task at every change, to find out whether it has to go on waiting. With
    hundreds of streams of small events, that takes longer than the events.
    """

    def __init__(self) -> None:
        self._waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    async def until(self, holds: Callable[[], bool]) -> None:
        """Return when `holds` returns true. It is asked now, and at every change until then."""
        while not holds():
            woken = asyncio.get_running_loop().create_future()
            self._waiting[woken] = holds
            try:
                await woken
            finally:
                del self._waiting[woken]

    def notify(self) -> None:
        """Note that something has changed, and wake the tasks whose condition is now true."""
        for woken, holds in self._waiting.items():
            if not woken.done() and holds():
                woken.set_result(None)
