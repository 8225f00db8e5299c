"""Sending callbacks: one guarded POST to a URL that a caller chose.

These rules hold for every attempt, whatever the receiver, its name server or the network do:

* the URL passes `check_url` again, its name is resolved once, and only checked addresses are dialled
* the name stays in TLS (SNI and certificate), in the Host header and in the key of the connection pool
* no redirects, proxies, compression or cookies, because httpcore, the transport under httpx, has none of them
* one deadline for everything, and at most 4 KiB or one second of the answer's body
* no exception, because every fault is an answer
"""

import asyncio
import socket
import ssl
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import KW_ONLY, dataclass, field

import httpcore

from shared.core.outcomes import Answer, SendError
from shared.senders.admission import MAX_FIRSTS, MAX_RETRIES, Admission, AdmissionControl, Outlook
from shared.senders.circuit_breaker import BreakerKey
from shared.senders.pinned_dialer import PinnedDialer, ResolutionFailed, Resolve, system_resolve
from shared.senders.url_policy import PORTS, CallbackUrlRefused, CheckedUrl, check_addresses, check_url, is_address

MAX_SENDS = MAX_FIRSTS + MAX_RETRIES
SEND_THREADS = 2 * MAX_SENDS  # a lookup may go on after its attempt has given up waiting for it
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


def _wall_clock_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass(eq=False)
class CallbackSender:
    """Posts callbacks. Times are seconds, except `now_ms`, which returns unix milliseconds.

    Create one per process, `vet` URLs when a response is created, and `admit` each `post`.
    """

    _: KW_ONLY
    now_ms: Callable[[], int] = _wall_clock_ms
    allow_loopback: bool = False
    ports: Collection[int] = PORTS
    refused_hosts: Collection[str] = frozenset()
    deadline_s: float = 15.0
    drain_s: float = 1.0  # to read the body of an answer, so that its connection can be reused
    connect_s: float = 5.0
    resolve_s: float = 5.0
    vet_s: float = 1.0
    resolve: Resolve | None = None  # None: the system's resolver
    ssl_context: ssl.SSLContext = field(default_factory=ssl.create_default_context)
    dialer: httpcore.AsyncNetworkBackend = field(default_factory=httpcore.AnyIOBackend)

    def __post_init__(self) -> None:
        self._admission = AdmissionControl(self.now_ms)
        # separate threads, so that lookups for creates and for attempts do not wait for each other
        self._vet_resolve = self.resolve or system_resolve(VET_THREADS)
        resolve = self.resolve or system_resolve(SEND_THREADS)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=self.ssl_context,
            max_connections=MAX_SENDS,
            keepalive_expiry=KEEPALIVE_S,
            network_backend=PinnedDialer(resolve, self.refused_hosts, self.allow_loopback, self.resolve_s, self.dialer),
        )

    async def vet(self, url: str) -> None:
        """Raise CallbackUrlRefused if the URL breaks a rule, or if DNS says that its name has no public address.

        The error is the same for a name that does not exist and for one with a private address. If DNS fails, the URL
        passes, because it is checked again before each attempt.
        """
        checked = self._check(url)
        if not is_address(checked.host) and not await self._may_be_public(checked):
            raise CallbackUrlRefused("unresolvable", "The host does not lead to a public address.")

    def admit(
        self, address: str, caller: str, *, first: bool, patience_s: float
    ) -> AbstractAsyncContextManager[Admission]:
        """Hold the right to make one attempt, as `AdmissionControl.admit`. Raises CircuitOpen or NoCapacity."""
        key = BreakerKey(caller, self.host(address))
        return self._admission.admit(key, first=first, patience_s=patience_s)

    def host(self, address: str) -> str:
        """Return the host of a URL, or an empty string if it is refused, because nothing will be sent to it."""
        try:
            return self._check(address).host
        except CallbackUrlRefused:
            return ""

    def outlook(self, host: str, caller: str, *, first: bool) -> Outlook:
        """Return what an attempt would meet now, as `AdmissionControl.outlook`."""
        return self._admission.outlook(BreakerKey(caller, host), first=first)

    async def post(
        self, address: str, headers: Mapping[str, str], body: bytes, *, hosts: Collection[str] = ()
    ) -> Answer:
        """Make one attempt, to one of the caller's `hosts` if any are given.

        `body` is sent as it is, with our own headers added. Never raises, because every fault is an answer.
        """
        started = time.monotonic()
        status, error, retry_after = None, None, None
        try:
            status, retry_after = await self._exchange(self._check(address, hosts), headers, body)
        except _TROUBLE as trouble:
            error = _error(trouble)
        return Answer(status, error, retry_after, duration_ms=int((time.monotonic() - started) * 1000))

    async def aclose(self) -> None:
        """Close the connections that are kept for reuse."""
        await self._pool.aclose()

    def _check(self, url: str, hosts: Collection[str] = ()) -> CheckedUrl:
        return check_url(
            url,
            hosts=hosts,
            refused_hosts=self.refused_hosts,
            ports=self.ports,
            allow_loopback=self.allow_loopback,
        )

    async def _may_be_public(self, url: CheckedUrl) -> bool:
        try:
            async with asyncio.timeout(self.vet_s):
                answers = await self._vet_resolve(url.host, url.port)
            check_addresses(url.host, answers, refused_hosts=self.refused_hosts, allow_loopback=self.allow_loopback)
        except CallbackUrlRefused:
            return False
        except socket.gaierror as failure:
            return failure.errno not in _NO_ADDRESS
        except OSError:
            return True
        return bool(answers)

    async def _exchange(self, url: CheckedUrl, headers: Mapping[str, str], body: bytes) -> tuple[int, str | None]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self.deadline_s
        async with asyncio.timeout_at(deadline):
            response = await self._pool.handle_async_request(self._request(url, headers, body))
        # a status is an answer even if its body breaks off, because sending again would make a duplicate
        with suppress(*_TROUBLE):
            async with asyncio.timeout_at(min(deadline, loop.time() + self.drain_s)), aclosing(response):
                await _drain(response)
        return response.status, _retry_after(response)

    def _request(self, url: CheckedUrl, headers: Mapping[str, str], body: bytes) -> httpcore.Request:
        own_headers = {
            "host": url.authority,
            "content-length": str(len(body)),
            "user-agent": USER_AGENT,
            "accept": "*/*",
            "accept-encoding": "identity",
        }
        fields = {name.lower(): value for name, value in headers.items()} | own_headers
        return httpcore.Request(
            "POST",
            httpcore.URL(scheme=url.scheme, host=url.host, port=url.port, target=url.path),
            headers=[*fields.items()],
            content=body,
            extensions={"timeout": {"connect": self.connect_s}},
        )


async def _drain(response: httpcore.Response) -> None:
    """Read a short answer to its end, so that the connection can be reused. A long one is abandoned."""
    read = 0
    async for chunk in response.aiter_stream():
        read += len(chunk)
        if read >= ANSWER_BYTES:
            return


def _retry_after(response: httpcore.Response) -> str | None:
    values = (value for name, value in response.headers if name.lower() == b"retry-after")
    first = next(values, None)
    return first.decode("latin-1")[:RETRY_AFTER_CHARACTERS] if first else None


def _error(trouble: Exception) -> SendError:
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
