"""Dialling: from the name in a checked URL to a connection with a number that was judged.

A name is resolved once per connection, every answer is judged, and only numbers are dialled; the peer must be the
number. So a name that changes its mind between check and connection gains nothing.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any, NoReturn

import httpcore

from shared.senders.url_policy import admit, is_address

Resolve = Callable[[str, int], Awaitable[list[str]]]

MAX_DIALS = 3
HEARD_MAX = 32_768  # bytes of one answer, head and all: servers send heads of 16 KiB at most


class ResolutionFailed(httpcore.ConnectError):
    """The name has no address, or its name server did not say in time."""


def absolute(host: str) -> str:
    """Return a full name as one that is not looked up under this machine's own domains too."""
    return f"{host}." if "." in host else host


def system_resolve(threads: int) -> Resolve:
    """Return the system's resolver in threads of its own: slow name servers hold up nobody else's threads."""
    pool = ThreadPoolExecutor(threads, thread_name_prefix="callback-dns")

    def look_up(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(absolute(host), port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def resolve(host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(pool, look_up, host, port)

    return resolve


@dataclass(frozen=True)
class PinnedBackend(httpcore.AsyncNetworkBackend):
    """Dials only judged numbers: resolves once per connection, and the peer must be the number dialled."""

    resolve: Resolve
    refused_hosts: Collection[str] = ()
    allow_loopback: bool = False
    resolve_s: float = 5.0
    dialer: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: object, **__: object
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first admitted number that answers; each gets its share of the time."""
        numbers = (await self._admitted(host, port))[:MAX_DIALS]
        share_s = timeout / len(numbers) if timeout else timeout
        for number in numbers[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._dial(number, port, share_s)
        return await self._dial(numbers[-1], port, share_s)

    async def connect_unix_socket(self, *_: object, **__: object) -> NoReturn:
        """Refuse: a callback never leads to this machine's own sockets."""
        raise httpcore.ConnectError

    async def _admitted(self, host: str, port: int) -> list[str]:
        answers = [host] if is_address(host) else await self._answers(host, port)
        admit(host, answers, refused_hosts=self.refused_hosts, allow_loopback=self.allow_loopback)
        return answers

    async def _answers(self, host: str, port: int) -> list[str]:
        try:
            async with asyncio.timeout(self.resolve_s):
                answers = await self.resolve(host, port)
        except OSError:
            raise ResolutionFailed from None
        if not answers:
            raise ResolutionFailed
        return answers

    async def _dial(self, number: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        stream = await self.dialer.connect_tcp(number, port, timeout)
        if not _is_peer(stream, number):
            await stream.aclose()
            raise httpcore.ConnectError
        return _Dialled(stream)


class _Dialled(httpcore.AsyncNetworkStream):
    """A connection that hears only so much of an answer, and that a TLS handshake which breaks off does not leave open.

    httpcore has no end for answers that go before the answer, and forgets what it was shaking hands with.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = HEARD_MAX

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._left:
            raise httpcore.RemoteProtocolError
        data = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._left = HEARD_MAX  # another request, another answer
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        async with AsyncExitStack() as unfinished:
            unfinished.push_async_callback(self.aclose)
            secured = await self._stream.start_tls(ssl_context, server_hostname, timeout)
            unfinished.pop_all()
        return _Dialled(secured)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _is_peer(stream: httpcore.AsyncNetworkStream, number: str) -> bool:
    peer = stream.get_extra_info("server_addr")  # None once it is disconnected
    return peer is not None and ip_address(peer[0]) == ip_address(number)
