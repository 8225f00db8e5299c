"""The pinned dialer: connects to the name in a checked URL, and only to addresses that were checked.

A name is resolved once per connection, and every address is checked. Only addresses are dialled, and the peer must have
the address that was dialled. So an attacker gains nothing from changing a name between the check and the connection.
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

from shared.senders.url_policy import check_addresses, is_address

Resolve = Callable[[str, int], Awaitable[list[str]]]

MAX_DIALS = 3
ANSWER_MAX = 32_768  # bytes of one answer with its head. Servers send heads of at most 16 KiB.


class ResolutionFailed(httpcore.ConnectError):
    """The name has no address, or its name server did not answer in time."""


def absolute(host: str) -> str:
    """Return a full name with a trailing dot, so that the search domains of this machine are not tried."""
    return f"{host}." if "." in host else host


def system_resolve(threads: int) -> Resolve:
    """Return the system's resolver in a separate pool of threads.

    Slow name servers then hold up no other work.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="callback-dns")

    def look_up(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(absolute(host), port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def resolve(host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(pool, look_up, host, port)

    return resolve


@dataclass(frozen=True)
class PinnedDialer(httpcore.AsyncNetworkBackend):
    """Dials only checked addresses. A name is resolved once per connection.

    The peer must have the address that was dialled. `resolve_s` is the deadline of the resolver in seconds.
    """

    resolve: Resolve
    refused_hosts: Collection[str] = ()
    allow_loopback: bool = False
    resolve_s: float = 5.0
    dialer: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: object, **__: object
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first checked address that answers, out of at most 3, which share the timeout in seconds.

        Raises CallbackUrlRefused if an address must not be dialled, ResolutionFailed if there is no address, and
        httpcore's errors if no address answers.
        """
        addresses = (await self._checked(host, port))[:MAX_DIALS]
        share_s = timeout / len(addresses) if timeout else timeout
        for address in addresses[:-1]:
            with suppress(httpcore.ConnectError, httpcore.ConnectTimeout):
                return await self._dial(address, port, share_s)
        return await self._dial(addresses[-1], port, share_s)

    async def connect_unix_socket(self, *_: object, **__: object) -> NoReturn:
        """Raise ConnectError, because a callback never goes to a socket of this machine."""
        raise httpcore.ConnectError

    async def _checked(self, host: str, port: int) -> list[str]:
        answers = [host] if is_address(host) else await self._answers(host, port)
        check_addresses(host, answers, refused_hosts=self.refused_hosts, allow_loopback=self.allow_loopback)
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

    async def _dial(self, address: str, port: int, timeout: float | None) -> httpcore.AsyncNetworkStream:
        stream = await self.dialer.connect_tcp(address, port, timeout)
        if not _is_peer(stream, address):
            await stream.aclose()
            raise httpcore.ConnectError
        return _BoundedStream(stream)


class _BoundedStream(httpcore.AsyncNetworkStream):
    """A connection that reads at most ANSWER_MAX bytes per answer, and is closed if its TLS handshake fails.

    httpcore has no limit for informational answers, and does not close the connection of a failed handshake.
    """

    def __init__(self, stream: httpcore.AsyncNetworkStream) -> None:
        self._stream = stream
        self._left = ANSWER_MAX

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if not self._left:
            raise httpcore.RemoteProtocolError
        data = await self._stream.read(min(max_bytes, self._left), timeout)
        self._left -= len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._left = ANSWER_MAX  # the next answer begins
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
        return _BoundedStream(secured)

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


def _is_peer(stream: httpcore.AsyncNetworkStream, address: str) -> bool:
    peer = stream.get_extra_info("server_addr")  # None once it is disconnected
    return peer is not None and ip_address(peer[0]) == ip_address(address)
