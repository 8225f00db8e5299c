"""A relay that cuts connections, as a broken network does, with real sockets."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager


class Cutter:
    """A relay to a port. It cuts each of the first connections after a given number of bytes of the answer."""

    def __init__(self, target_port: int, passes: Sequence[int]) -> None:
        self._target_port = target_port
        self._passes = list(passes)
        self.cuts = 0

    async def relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Relay one connection."""
        left = self._passes.pop(0) if self._passes else None
        there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        asking = asyncio.create_task(_copy(reader, back))
        try:
            if not await _copy(there, writer, left):
                self.cuts += 1
                writer.transport.abort()
        finally:
            asking.cancel()
            back.close()
            writer.close()


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter, left: int | None = None) -> bool:
    """Copy everything, or at most `left` bytes. Return whether the end was reached."""
    with contextlib.suppress(ConnectionError):
        while chunk := await source.read(65_536):
            target.write(chunk if left is None else chunk[:left])
            await target.drain()
            if left is not None and (left := left - len(chunk)) <= 0:
                return False
    return True


@contextmanager
def cutter(target_port: int, *passes: int) -> Iterator[tuple[str, Cutter]]:
    """Run a relay in a thread until the end of the block. Yield its URL and the relay."""
    loop = asyncio.new_event_loop()
    relay = Cutter(target_port, passes)
    server = loop.run_until_complete(asyncio.start_server(relay.relay, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", relay
    finally:
        asyncio.run_coroutine_threadsafe(_closed(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _closed(server: asyncio.Server) -> None:
    server.close()
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)
