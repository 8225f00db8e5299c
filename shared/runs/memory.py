"""What a run remembers beyond the process that drives it: facts kept one by one, and the legacy of the response before.

A fact is written with the record as its fence, so whoever has lost the run keeps nothing any more.
"""

import asyncio
from functools import partial
from typing import Any

from shared.core import blobs, run_transitions
from shared.runs.lease import Lease, Lost
from shared.runtime.ports import World
from shared.storage.store import CHILDREN_A_PAGE
from shared.storage.table_client import Entity


class Notes:
    """The memory of one run that this process holds."""

    def __init__(self, world: World, lease: Lease) -> None:
        self._world = world
        self._lease = lease
        self._keeping = asyncio.Lock()

    async def recall(self) -> list[dict[str, Any]]:
        """Return what earlier holders of the run have kept, in order."""
        facts: dict[str, list[Entity]] = {}
        for row in await self._rows():
            facts.setdefault(str(row["RowKey"]).rsplit("|", 1)[0], []).append(row)
        return [blobs.unpack(blobs.from_rows(rows)) for rows in facts.values()]

    async def keep(self, fact: dict[str, Any], token: str | None = None) -> None:
        """Keep a fact, however long storage is away; never return where the run is lost. Raises Oversized."""
        packed = blobs.pack(fact)
        async with self._keeping:
            before = self._lease.record.memos
            try:
                await self._lease.write(lambda current: run_transitions.noted(current, before, packed, token))
            except Lost:
                await asyncio.Event().wait()  # whoever drives the run sees it as well, and ends the work

    async def inherited(self) -> dict[str, Any] | None:
        """Return the legacy of the previous response, None if there is none."""
        previous = self._lease.record.previous
        rows = await self._lease.insist(lambda: self._world.store.children(previous, "legacy")) if previous else []
        legacy: dict[str, Any] | None = blobs.unpack(blobs.from_rows(rows)) if rows else None
        return legacy

    async def _rows(self) -> list[Entity]:
        """Return the rows of all facts, however long storage is away."""
        found: list[Entity] = []
        while True:
            after = str(found[-1]["RowKey"]) if found else ""
            read = partial(self._world.store.children, self._lease.record.id, "memo", after)
            page = await self._lease.insist(read)
            found += page
            if len(page) < CHILDREN_A_PAGE:
                return found
