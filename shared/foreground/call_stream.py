"""The stream of a foreground call. If its client leaves before the end, or it breaks, a repeat may join the work."""

import re
from typing import Self

from shared.foreground.leaving import Leaving
from shared.runs.streams import Stream
from shared.runtime.ports import Ports

_END = re.compile(rb"^event: response\.(?:completed|failed|incomplete)$", re.MULTILINE)


class CallStream:
    """A stream of server-sent events, as `Stream` is one. Close it in every case."""

    def __init__(self, ports: Ports, stream: Stream, leaving: Leaving | None) -> None:
        self._ports = ports
        self._stream = stream
        self._leaving = leaving
        self._is_complete = False  # the terminal event is out. Some clients leave at once then

    def __aiter__(self) -> Self:
        """Return itself."""
        return self

    async def __anext__(self) -> bytes:
        """Return the next chunk. Raises as `Stream` does."""
        chunk = await anext(self._stream)
        self._is_complete = self._is_complete or _END.search(chunk) is not None
        return chunk

    async def aclose(self) -> None:
        """Stop listening. That its client has left is noted before anything else."""
        leaving = None if self._is_complete else self._leaving
        if leaving:
            await leaving.note()
        await self._stream.aclose()
        if leaving:
            self._ports.background.start(leaving.follow())


Chunks = Stream | CallStream
"""A stream of either kind."""
