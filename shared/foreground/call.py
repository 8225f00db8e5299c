"""A foreground call: a task begins the response and waits for its end, and its client is answered when that is there.

If the client leaves, the work goes on, and only the waiting ends. If the status line has to go out before the end, the
response is promised first: from then on it is kept, because its client has its id.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from shared.core.errors import RefusedByUpstream, ServiceError, StoreError, UpstreamRefused
from shared.core.records import Record
from shared.foreground.clients import Client
from shared.foreground.leaving import Leaving
from shared.foreground.times import times_of
from shared.lifecycle import waiting
from shared.lifecycle.waiting import Shown
from shared.runs import in_place
from shared.runs.runner import Run
from shared.runtime.ports import Ports
from shared.starts import submission, withdrawal
from shared.telemetry.logs import logger

_log = logger(__name__)

_LOOK_S = 1.0
T = TypeVar("T")


class Call:
    """A foreground call of the response `id`. It keeps no body while it waits."""

    def __init__(
        self,
        ports: Ports,
        record: Record,
        request: dict[str, Any] | None,
        size: int,
        client: Client,
        leaving: Leaving | None = None,
    ) -> None:
        """Begin the response, or join it if `request` is None.

        `request` is the body for the upstream, and `size` that of the caller's in bytes. `leaving` is what follows if
        the client leaves.
        """
        self.id = record.id
        self.times = times_of(ports.config.pace, client, joins=request is None)
        self._until_s = ports.clock.elapsed_s() + ports.config.pace.stream_s
        self._leaving = leaving
        self._ports = ports
        self._left = asyncio.Event()
        self._is_leaving = False
        self._run: Run | None = None
        self._ending = ports.background.start(self._until_end(record, request, size), self._note_failure)

    @property
    def is_over(self) -> bool:
        """Whether there is nothing more to wait for, or no more time to do so."""
        return self._ending.done() or self._ports.clock.elapsed_s() >= self._until_s

    @property
    def is_left(self) -> bool:
        """Whether the client has left."""
        return self._left.is_set()

    async def end(self, within_s: float | None = None) -> Shown | None:
        """Return the response when it has ended, or None after `within_s` seconds, or when the client has left.

        If the response is run in place, this returns after that run, because its invocation keeps the instance. Raises
        RefusedByUpstream if the upstream refuses the request, NotFound if the response is deleted, and otherwise as
        `submission.submit` does.
        """
        await asyncio.wait({self._ending}, timeout=within_s)
        if self._ending.done():
            return self._ending.result()
        return None

    async def promise(self) -> None:
        """Keep the response from now on, because its client is about to get its id.

        Raises RefusedByUpstream if the upstream has refused the request before.
        """
        try:
            if self._run:
                await self._acknowledge(self._run)
                if not (self._run.has_begun or self._run.record.status.is_terminal):
                    await withdrawal.before_answer(self._ports, self._run.record)
            elif record := await self._accepted():
                await withdrawal.before_answer(self._ports, record)
        except StoreError:
            _log.warning("call.unpromised", extra={"response": self.id})  # an answer is worth more than this note

    def leave(self) -> None:
        """Note that the client has left. Work that has not begun here is handed over.

        A repeat can join from the first moment: that is noted before anything else.
        """
        if not self._is_leaving:
            self._is_leaving = True
            self._ports.background.start(self._leave())

    async def _leave(self) -> None:
        if self._leaving:
            await self._leaving.note()
        self._left.set()
        if self._run:
            self._run.leave()
        if self._leaving:
            await self._leaving.follow()

    # The task

    async def _until_end(self, record: Record, request: dict[str, Any] | None, size: int) -> Shown | None:
        with self._ports.watches.waiting(self.id):
            if request is not None and in_place.admit(self._ports, record, size):
                record = await self._in_place(record, request)
            elif request is not None:
                record = await submission.submit(self._ports, record, request)
            del request  # what waits holds no body
            self._ports.entrance.leave()  # of one that joins
            shown = await self._unless_left(waiting.end_of(self._ports, record))
        return (await withdrawal.before_answer(self._ports, shown[0]), shown[1]) if shown else None

    async def _in_place(self, record: Record, request: dict[str, Any]) -> Record:
        """Run the response here, and return its record when the run is over. It may go on elsewhere."""
        begun = await in_place.begin(self._ports, record, request)
        if isinstance(begun, Record):
            return begun
        self._run, driving = begun
        if self.is_left:
            self._run.leave()
        await asyncio.wait({driving})
        await self._acknowledge(self._run)
        return self._run.record

    def _note_failure(self, error: BaseException) -> None:
        """Log an unexpected error that no client can get."""
        if self.is_left and not isinstance(error, ServiceError | StoreError):
            _log.error("call.failed", extra={"response": self.id}, exc_info=error)

    @staticmethod
    async def _acknowledge(run: Run) -> None:
        try:
            await run.acknowledge()
        except UpstreamRefused as refusal:
            raise RefusedByUpstream(refusal) from refusal

    async def _accepted(self) -> Record | None:
        """Return the record as soon as it is there, or None if the call is over before."""
        while not self._ending.done():
            if record := await self._ports.store.read(self.id):
                return record
            await asyncio.wait({self._ending}, timeout=_LOOK_S)
        return None

    async def _unless_left(self, ending: Coroutine[Any, Any, T]) -> T | None:
        """Return the result, or None if the client has left before."""
        waited, left = asyncio.ensure_future(ending), asyncio.ensure_future(self._left.wait())
        try:
            await asyncio.wait({waited, left}, return_when=asyncio.FIRST_COMPLETED)
            return waited.result() if waited.done() else None
        finally:
            for one in (waited, left):
                one.cancel()
            await asyncio.wait({waited, left})
