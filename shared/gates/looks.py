"""Looks at a gate, for those who show it. The view of the gate's agent is used as long as it is new enough."""

import asyncio
from math import inf

from shared.core.errors import StoreError, StoreUnavailable, UnreadableRow
from shared.core.gates.state import GateState
from shared.gates.agent import Agent
from shared.gates.tools import Tools
from shared.storage.faults import reaching
from shared.storage.gates.gate_table import GateTable


class Looks:
    """The looks of this process at one gate. Those at the same time share one read."""

    def __init__(self, agent: Agent, table: GateTable, tools: Tools) -> None:
        self._agent, self._table, self._tools = agent, table, tools
        self._one_at_a_time = asyncio.Lock()
        self._missed_s = -inf  # when the row could not be read last, on the clock for durations

    async def seen(self, within_s: float, deadline_s: float) -> GateState | None:
        """Return the gate as its row was at most `within_s` seconds ago, or None if it has none.

        If a read fails, no other follows for as long. Raises StoreUnavailable, also if storage has not answered within
        `deadline_s` seconds, and UnreadableRow.
        """
        async with reaching(deadline_s), self._one_at_a_time:
            now_s = self._tools.elapsed_s()
            if now_s - self._agent.seen_s > within_s:
                if now_s - self._missed_s <= within_s:
                    raise StoreUnavailable("the gate could not be read just now")
                await self._read()
            return self._agent.view

    async def _read(self) -> None:
        """Read the row. What a transaction of this process has seen meanwhile is newer."""
        agent = self._agent
        before = agent.view
        try:
            stored = await self._table.read(agent.gate.name)
        except (StoreError, UnreadableRow, asyncio.CancelledError):  # the last if the deadline is over
            self._missed_s = self._tools.elapsed_s()
            raise
        if agent.view is before:
            agent.see(stored.state if stored else None)
