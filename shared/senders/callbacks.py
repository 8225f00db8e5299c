"""Sending callbacks: one guarded POST to a URL that somebody else chose.

What holds for every attempt, whatever the receiver, its name server or the network do:

* the URL passes `check_url` again, its name is resolved once, and only judged numbers are dialled;
* the name stays in TLS (SNI and certificate), in the Host header and in the key of the connection pool;
* no redirect, proxy, compression or cookie: httpcore, the transport under httpx, has none of them;
* one deadline around it all, at most 4 KiB or a second of the answer's body, and no exception: an answer is a value.
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Collection, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import KW_ONLY, dataclass, field

import httpcore

from shared.core.outcomes import Answer, SendError
from shared.senders.bulkhead import Lane
from shared.senders.pinned_dialer import PinnedBackend, ResolutionFailed, Resolve, system_resolve
from shared.senders.url_policy import PORTS, CallbackUrlRefused, Target, admit, check_url, is_address

MAX_FIRSTS = 24  # first attempts at once
MAX_RETRIES = 12  # in a lane of their own: first attempts never wait behind them
MAX_SENDS = MAX_FIRSTS + MAX_RETRIES
SEND_THREADS = 2 * MAX_SENDS  # the system looks up for longer than an attempt waits for it
VET_THREADS = 8
KEEPALIVE_S = 3.0
ANSWER_BYTES = 4096
RETRY_AFTER_CHARACTERS = 64
USER_AGENT = "background-responses/1"

_NO_ADDRESS = (socket.EAI_NONAME, socket.EAI_NODATA)
_TROUBLE = (
    CallbackUrlRefused,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
    OSError,  # TimeoutError and ssl.SSLError among them
)


@dataclass(eq=False)
class CallbackSender:
    """Posts callbacks. Make one per process, `vet` URLs at create, and hold a slot around each `post`."""

    _: KW_ONLY
    allow_loopback: bool = False
    ports: Collection[int] = PORTS
    refused_hosts: Collection[str] = frozenset()
    deadline_s: float = 15.0
    drain_s: float = 1.0  # for the body of an answer, which only the connection needs
    connect_s: float = 5.0
    resolve_s: float = 5.0
    vet_s: float = 1.0
    resolve: Resolve | None = None  # none: the system's
    ssl_context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    dialer: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)

    def __post_init__(self) -> None:
        self._firsts, self._retries = Lane(MAX_FIRSTS), Lane(MAX_RETRIES)
        self._vet_resolve = self.resolve or system_resolve(VET_THREADS)  # what create waits for delays no attempt
        resolve = self.resolve or system_resolve(SEND_THREADS)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=self.ssl_context,
            max_connections=MAX_SENDS,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=PinnedBackend(
                resolve, self.refused_hosts, self.allow_loopback, self.resolve_s, self.dialer
            ),
        )

    async def vet(self, url: str) -> None:
        """Raise CallbackUrlRefused if the URL breaks a rule or its name leads nowhere we may go, as far as DNS says.

        A name that does not exist and one that leads inside are told apart by nothing; DNS in trouble is no refusal.
        """
        target = self._check(url)
        if not is_address(target.host) and not await self._may_be_public(target):
            raise CallbackUrlRefused("unresolvable", "The host does not lead to a public address.")

    def slot(self, address: str, *, first: bool, patience_s: float) -> AbstractAsyncContextManager[None]:
        """Hold one of the lane's slots, at most a quarter of them for one host; raise Busy if none is to be had."""
        return (self._firsts if first else self._retries).slot(self._host(address), patience_s)

    async def post(
        self, address: str, headers: Mapping[str, str], body: bytes, *, hosts: Collection[str] = ()
    ) -> Answer:
        """Make one attempt; never raises for what a receiver or a network does. `hosts`: see `check_url`."""
        started = time.monotonic()
        status, error, retry_after = None, None, None
        try:
            status, retry_after = await self._exchange(self._check(address, hosts), headers, body)
        except _TROUBLE as trouble:
            error = _word(trouble)
        return Answer(status, error, retry_after, duration_ms=int((time.monotonic() - started) * 1000))

    async def aclose(self) -> None:
        """Close the connections that are kept for reuse."""
        await self._pool.aclose()

    def _check(self, url: str, hosts: Collection[str] = ()) -> Target:
        return check_url(
            url,
            hosts=hosts,
            refused_hosts=self.refused_hosts,
            ports=self.ports,
            allow_loopback=self.allow_loopback,
        )

    async def _may_be_public(self, target: Target) -> bool:
        try:
            async with asyncio.timeout(self.vet_s):
                answers = await self._vet_resolve(target.host, target.port)
            admit(target.host, answers, refused_hosts=self.refused_hosts, allow_loopback=self.allow_loopback)
        except CallbackUrlRefused:
            return False
        except socket.gaierror as failure:
            return failure.errno not in _NO_ADDRESS
        except OSError:
            return True
        return bool(answers)

    def _host(self, url: str) -> str:
        try:
            return self._check(url).host
        except CallbackUrlRefused:
            return ""  # will be answered without any sending

    async def _exchange(self, target: Target, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.deadline_s
        async with asyncio.timeout_at(deadline):
            response = await self._pool.handle_async_request(self._request(target, headers, body))
        # a status is an answer, whatever becomes of the body: to send again would be a duplicate
        with suppress(*_TROUBLE):
            async with asyncio.timeout_at(min(deadline, loop.time() + self.drain_s)), aclosing(response):
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
