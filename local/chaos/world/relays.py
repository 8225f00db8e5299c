"""Relays on loopback between two parts. The connections through a relay can be reset at any moment."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from local.stack.ports import free_port

CHUNK = 65_536
LOOPBACK = "127.0.0.1"
CONNECT_S = 5.0
CALL_S = 10.0
TURNS = 10  # of the event loop, for what takes fewer
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


class Relay:
    """A relay to a port of this machine. It listens on `port` of a loopback address."""

    def __init__(self, name: str, target_port: int, address: str, port: int) -> None:
        self.name = name
        self.address = address
        self.port = port or free_port()
        self._target_port = target_port
        self._open = set[asyncio.StreamWriter]()

    async def listen(self) -> asyncio.Server:
        """Listen from now on."""
        return await asyncio.start_server(self._relay, self.address, self.port, backlog=512)

    def cut(self) -> int:
        """Reset every open connection, as a firewall or a load balancer does that forgets them. Return how many."""
        found = list(self._open)
        for writer in found:
            _reset(writer)
        return len(found) // 2  # each has two ends

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECT_S):
                there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except (OSError, TimeoutError):
            _reset(writer)
            return
        except asyncio.CancelledError:
            _reset(writer)
            raise
        ends = {writer, back}
        self._open |= ends
        is_clean = False
        tasks = [asyncio.create_task(one) for one in (_copy(reader, back), _copy(there, writer))]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            is_clean = all(task.result() for task in done)
        finally:
            self._open -= ends
            for end in ends:
                end.close() if is_clean else _reset(end)
            for task in tasks:
                task.cancel()


async def _turns() -> None:
    for _ in range(TURNS):
        await asyncio.sleep(0)


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> bool:
    """Copy until the source ends. Return whether it ended cleanly."""
    try:
        while chunk := await source.read(CHUNK):
            target.write(chunk)
            await target.drain()
    except OSError:
        return False
    return True


def _reset(writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        found = writer.get_extra_info("socket")
        if found is not None:
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
    writer.transport.abort()


class Relays:
    """All relays of a run, on an event loop of their own."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._servers = list[asyncio.Server]()
        self.all = list[Relay]()

    def add(self, name: str, target_port: int, address: str = LOOPBACK, port: int = 0) -> Relay:
        """Return a new relay that listens, on a free port unless one is given."""
        relay = Relay(name, target_port, address, port)
        self._servers.append(asyncio.run_coroutine_threadsafe(relay.listen(), self._loop).result(CALL_S))
        self.all.append(relay)
        return relay

    async def close(self) -> None:
        """Listen no more, and end what is under way."""
        for server in self._servers:
            server.close()
        await _turns()  # a connection that is just being accepted has its task then
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)
        for relay in self.all:
            relay.cut()
        await _turns()  # until the connections are closed

    def cut(self, name: str) -> int:
        """Reset every connection between the pair of this name, and return how many there were."""

        async def cut() -> int:
            return sum(relay.cut() for relay in self.all if relay.name == name)

        return asyncio.run_coroutine_threadsafe(cut(), self._loop).result(CALL_S)


@contextmanager
def relays() -> Iterator[Relays]:
    """Run relays in a thread until the end of the block."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="relays", daemon=True)
    thread.start()
    running = Relays(loop)
    try:
        yield running
    finally:
        asyncio.run_coroutine_threadsafe(running.close(), loop).result(CALL_S)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(CALL_S)
        loop.close()
