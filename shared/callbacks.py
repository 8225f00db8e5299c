"""Sending callbacks: one guarded POST to a URL that somebody else chose.

What holds for every attempt, whatever the receiver, its name server or the network do:

* the URL passes `check_url` again, its name is resolved once, and only judged numbers are dialled;
* the name stays in TLS (SNI and certificate), in the Host header and in the key of the connection pool;
* no redirect, proxy, compression or cookie: httpcore, the transport under httpx, has none of them;
* one deadline around it all, at most 4 KiB of the answer's body, and no exception: the answer is a value.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import KW_ONLY, dataclass, field
from ipaddress import ip_address
from typing import NoReturn
from weakref import WeakValueDictionary

import httpcore

from shared.addresses import PORTS, CallbackUrlRefused, Target, admit, check_url, is_address
from shared.redelivery import Answer, SendError

Resolve = Callable[[str, int], Awaitable[list[str]]]

MAX_SENDS = 24
MAX_SENDS_PER_HOST = 6  # a quarter: a host that swallows packets must leave room for the others
MAX_DIALS = 3
KEEPALIVE_S = 3.0
ANSWER_BYTES = 4096
RETRY_AFTER_CHARACTERS = 64
USER_AGENT = "background-responses/1"


class ResolutionFailed(httpcore.ConnectError):
    """The name has no address, or its name server did not say in time."""


_TROUBLE = (
    CallbackUrlRefused,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    OSError,  # TimeoutError and ssl.SSLError among them
)


def system_resolve() -> Resolve:
    """Return the system's resolver in threads of its own: slow name servers hold up nobody else's threads."""
    threads = ThreadPoolExecutor(MAX_SENDS, thread_name_prefix="callback-dns")

    def look_up(host: str, port: int) -> list[str]:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        return list(dict.fromkeys(str(address[0]) for *_, address in found))

    async def resolve(host: str, port: int) -> list[str]:
        return await asyncio.get_running_loop().run_in_executor(threads, look_up, host, port)

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
        return stream


@dataclass(eq=False)
class CallbackSender:
    """Posts callbacks. Make one per process and hold a slot for the URL around each `post`."""

    _: KW_ONLY
    allow_loopback: bool = False
    ports: Collection[int] = PORTS
    refused_hosts: Collection[str] = frozenset()
    deadline_s: float = 15.0
    connect_s: float = 5.0
    resolve_s: float = 5.0
    resolve: Resolve = field(default_factory=system_resolve)
    ssl_context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    dialer: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)

    def __post_init__(self) -> None:
        self._sends = asyncio.Semaphore(MAX_SENDS)
        self._sends_by_host: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=self.ssl_context,
            max_connections=MAX_SENDS,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=PinnedBackend(
                self.resolve, self.refused_hosts, self.allow_loopback, self.resolve_s, self.dialer
            ),
        )

    @asynccontextmanager
    async def slot(self, url: str) -> AsyncIterator[None]:
        """Wait for one of 24 sends at once, at most 6 of them to one host; the host's share comes first."""
        host = self._host(url)
        of_host = self._sends_by_host.setdefault(host, asyncio.Semaphore(MAX_SENDS_PER_HOST))
        async with of_host, self._sends:
            yield

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Make one attempt and return what came of it; never raises for what a receiver or a network does."""
        started = time.monotonic()
        status, error, retry_after = None, None, None
        try:
            status, retry_after = await self._exchange(self._check(url), headers, body)
        except _TROUBLE as trouble:
            error = _word(trouble)
        return Answer(status, error, retry_after, duration_ms=int((time.monotonic() - started) * 1000))

    async def aclose(self) -> None:
        """Close the connections that are kept for reuse."""
        await self._pool.aclose()

    def _check(self, url: str) -> Target:
        return check_url(url, refused_hosts=self.refused_hosts, ports=self.ports, allow_loopback=self.allow_loopback)

    def _host(self, url: str) -> str:
        try:
            return self._check(url).host
        except CallbackUrlRefused:
            return ""  # will be answered without any sending

    async def _exchange(self, target: Target, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None]:
        deadline = asyncio.get_running_loop().time() + self.deadline_s
        async with asyncio.timeout_at(deadline):
            response = await self._pool.handle_async_request(self._request(target, headers, body))
        # a status is an answer, whatever becomes of the body: to send again would be a duplicate
        with suppress(*_TROUBLE):
            async with asyncio.timeout_at(deadline), aclosing(response):
                await _drain(response)
        return response.status, _retry_after(response)

    def _request(self, target: Target, headers: Mapping[str, str], body: bytes) -> httpcore.Request:
        own_headers = {
            "host": target.authority,
            "content-length": str(len(body)),
            "user-agent": USER_AGENT,
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        fields = {name.lower(): value for name, value in headers.items()} | own_headers
        return httpcore.Request(
            "POST",
            httpcore.URL(scheme=target.scheme, host=target.host, port=target.port, target=target.path),
            headers=[*fields.items()],
            content=body,
            extensions={"timeout": {"connect": self.connect_s}},
        )


def _is_peer(stream: httpcore.AsyncNetworkStream, number: str) -> bool:
    peer = stream.get_extra_info("server_addr")  # None once it is disconnected
    return peer is not None and ip_address(peer[0]) == ip_address(number)


async def _drain(response: httpcore.Response) -> None:
    """Read a short answer to its end, so that the connection can be used again; leave a long one."""
    read = 0
    async for chunk in response.aiter_stream():
        read += len(chunk)
        if read >= ANSWER_BYTES:
            return


def _retry_after(response: httpcore.Response) -> str | None:
    values = (value for name, value in response.headers if name.lower() == b"retry-after")
    first = next(values, None)
    return first.decode("latin-1")[:RETRY_AFTER_CHARACTERS] if first else None


def _word(trouble: Exception) -> SendError:
    match trouble:
        case CallbackUrlRefused(code=code):
            return SendError.ADDRESS_REFUSED if code == "callback_url_address" else SendError.URL_REFUSED
        case ResolutionFailed():
            return SendError.DNS
        case TimeoutError() | httpcore.TimeoutException():
            return SendError.TIMEOUT
        case ssl.SSLError() | httpcore.ConnectError(args=(ssl.SSLError(),)):
            return SendError.TLS
        case httpcore.ProtocolError():
            return SendError.PROTOCOL
    return SendError.CONNECT
