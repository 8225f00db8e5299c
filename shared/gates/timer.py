"""The timer of a gate in a process that has closed it, or whose responses wait: it grants when the gate allows more."""

import asyncio
from collections.abc import Callable

from shared.core.gates.state import GateState, Phase
from shared.gates.tools import Tools
from shared.telemetry import tracing

RETRY_S = 1.0
AGAIN_MAX_S = 30.0  # between rings for one time
_SPREAD_S = 0.05  # between the processes that have closed one gate


class Timer:
    """Calls `ring` at the time until which a gate allows no more, again and again, while responses wait there.

    It does so only after `keep`, until the gate is open or its lines are empty.
    """

    def __init__(self, tools: Tools, ring: Callable[[], None]) -> None:
        self._tools, self._ring = tools, ring
        self._keeps = False
        self._until_ms = 0
        self._again_s = RETRY_S
        self._task: asyncio.Task[None] | None = None

    def keep(self) -> None:
        """Keep the time of this gate from now on: this process has changed its phase, or put a response in its line."""
        self._keeps = True

    def follow(self, view: GateState | None) -> None:
        """Set the timer by the gate as it now is.

        After its time it may still allow no more, because all permits are in use. Whoever gives one back grants it, so
        the next ring, which finds permits of processes that have died, comes after 1 s, 2 s and so on, up to 30 s.
        """
        if view is None or view.phase is Phase.OPEN or not view.waiting:
            self._keeps = False
            self._cancel()
            return
        left_s = (view.until_ms - self._tools.now_ms()) / 1000
        if self._keeps and self._until_ms != view.until_ms:
            self._until_ms, self._again_s = view.until_ms, RETRY_S
            self._set(left_s)
        elif self._keeps and self._task is None:
            self._set(max(left_s, self._again_s))
            self._again_s = min(2 * self._again_s, AGAIN_MAX_S)

    def retry(self, view: GateState | None) -> None:
        """Ring in a second if responses wait, because storage did not answer."""
        if view and view.waiting:
            self._set(RETRY_S)

    def _set(self, delay_s: float) -> None:
        self._cancel()
        with tracing.under(""):  # the task serves all responses
            self._task = self._tools.start(self._wait(max(0.0, delay_s) + _SPREAD_S * self._tools.random()))

    async def _wait(self, delay_s: float) -> None:
        await self._tools.sleep(delay_s)
        self._task = None
        self._ring()

    def _cancel(self) -> None:
        if self._task:
            self._task.cancel()
            self._task = None
