"""A network that leads every IP address to one loopback port, for a sender that dials only public addresses."""

import ssl
from typing import Any

import httpcore


class Detour(httpcore.AsyncNetworkBackend):
    """Connects to the port whatever address is dialled, and counts the dials.

    The connection reports the dialled address as its peer.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._onward = httpcore.AnyIOBackend()
        self.dials = 0

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: object, **__: object
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the loopback port."""
        self.dials += 1
        return _Posing(await self._onward.connect_tcp("127.0.0.1", self._port, timeout), (host, port))


class _Posing(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, peer: tuple[str, int]) -> None:
        self._stream = stream
        self._peer = peer

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        return await self._stream.read(max_bytes, timeout)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return await self._stream.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._peer if info == "server_addr" else self._stream.get_extra_info(info)
