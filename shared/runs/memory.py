"""The memory of a run: its checkpoints, and the session of the previous response.

A checkpoint is written in one transaction with the record, so a process that has lost the run cannot save one.
"""

import asyncio
from functools import partial
from typing import Any

from shared import off_loop
from shared.core import blobs, keys
from shared.core.errors import StoreRefused
from shared.runs.lease import Lost, RunLease
from shared.runs.log_writer import LogWriter
from shared.runtime.ports import Ports
from shared.storage.table_client import Entity
from shared.storage.table_reader import CHILDREN_PER_PAGE
from shared.transitions import run_transitions


class RunCheckpoints:
    """The checkpoints of a run that this process holds, as the `Checkpoints` of its upstream.

    All calls retry while storage is unavailable.
    """

    def __init__(self, ports: Ports, lease: RunLease, log: LogWriter) -> None:
        self._ports = ports
        self._lease = lease
        self._log = log
        self._saving = asyncio.Lock()

    async def load(self) -> list[dict[str, Any]]:
        """Return the checkpoints that earlier holders of the run have saved, in order."""
        parts: dict[str, list[Entity]] = {}
        for row in await self._rows():
            parts.setdefault(keys.checkpoint_of(str(row["RowKey"])), []).append(row)
        return [await off_loop.unpack(blobs.joined(rows)) for rows in parts.values()]

    async def save(self, checkpoint: dict[str, Any], token: str | None = None) -> None:
        """Save a checkpoint. If the run is lost, never return.

        Raises Oversized if it is over 2.5 MiB when packed, or if storage refuses it. If `token` is given, it stops the
        work from now on.
        """
        async with self._saving:  # also while it is packed, so that the order is that of the calls
            packed = await off_loop.pack(checkpoint)
            await self._log.settle()  # the start of the work would replace the token
            saved = self._lease.record.upstream.checkpoints
            try:
                await self._lease.write(lambda current: run_transitions.save_checkpoint(current, saved, packed, token))
            except StoreRefused:
                raise blobs.Oversized from None
            except Lost:
                await asyncio.Event().wait()  # the run's own watch also sees the loss, and cancels this

    async def confirm(self) -> None:
        """Return if this process still holds the run. If not, never return."""
        if not await self._lease.is_held():
            await asyncio.Event().wait()  # the run's own watch also sees the loss, and cancels this

    async def previous_session(self) -> dict[str, Any] | None:
        """Return the session that the previous response left, or None."""
        previous = self._lease.record.request.previous_id
        packed = await self._lease.insist(lambda: self._ports.store.session(previous)) if previous else None
        session: dict[str, Any] | None = await off_loop.unpack(packed) if packed else None
        return session

    async def _rows(self) -> list[Entity]:
        """Return the rows of all checkpoints, in order."""
        found: list[Entity] = []
        while True:
            after = str(found[-1]["RowKey"]) if found else ""
            read = partial(self._ports.store.children, self._lease.record.id, keys.CHECKPOINTS, after)
            page = await self._lease.insist(read)
            found += page
            if len(page) < CHILDREN_PER_PAGE:
                return found
