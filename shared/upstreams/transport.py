"""httpx over aiohttp: the API of the one, and the connections of the other, which cost a fraction of the processor.

The pool of httpcore looks at every connection and every waiting request at each request. That of aiohttp does not.

Every fault becomes the error that httpx itself would raise, because `tries` reads the class: a ConnectError, a
ConnectTimeout and a PoolTimeout say that nothing was sent. A kept connection that the server closed while it was idle
is not used. If the server closes it just as a request is sent, a GET and a DELETE are sent once more, and nothing else
is. A POST is then a RemoteProtocolError or a ReadError, as when the server has read the request and then closes the
connection, because the two look the same from here.

No proxies, no netrc, no cookies, no redirects and no decompression. Bodies are read as they arrive.
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterable
from typing import Any

import aiohttp
import httpx
from aiohttp.abc import AbstractStreamWriter
from aiohttp.payload import Payload
from yarl import URL

from shared.silence import Silence

KEEPALIVE_S = 5.0  # shorter than a server waits, so that few connections are closed by the server while idle
MAX_LINE = 65_536  # bytes of the status line, or of one header
_PIECE = 65_536
_OWN_HEADERS = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")  # those that aiohttp would add

_REPEATED = ("GET", "DELETE")  # by the library, if the connection is lost before an answer. The others never are
_ERRORS: list[tuple[type[Exception] | tuple[type[Exception], ...], type[httpx.TransportError]]] = [  # the first counts
    (aiohttp.ConnectionTimeoutError, httpx.ConnectTimeout),
    (aiohttp.ServerTimeoutError, httpx.ReadTimeout),
    (aiohttp.ClientConnectorError, httpx.ConnectError),
    ((aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError), httpx.UnsupportedProtocol),
    (
        (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientResponseError),
        httpx.RemoteProtocolError,
    ),
    (TimeoutError, httpx.WriteTimeout),
    ((OSError, aiohttp.ClientError), httpx.ReadError),
    (ValueError, httpx.LocalProtocolError),  # a header that cannot be sent
]

SocketOption = tuple[int, int, int]


class AiohttpTransport(httpx.AsyncBaseTransport):
    """A transport with its own pool of at most `max_connections`. `socket_options` are set on every connection."""

    def __init__(
        self, context: ssl.SSLContext, *, max_connections: int, socket_options: Iterable[SocketOption] = ()
    ) -> None:
        self._context = context
        self._max_connections = max_connections
        self._socket_options = tuple(socket_options)
        self._session: aiohttp.ClientSession | None = None  # made by the first request, because it needs the loop

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request and return its answer, with the body unread. Raises httpx.TransportError."""
        session = self._session = self._session or self._new_session()
        timeout = request.extensions.get("timeout", {})
        content = await request.aread()
        if request.method not in _REPEATED:
            await _see_closed_connections()
        try:
            answer = await session.request(
                request.method,
                _url(request.url),
                headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in request.headers.raw],
                data=_Body(content, timeout.get("write")) if content else None,
                timeout=_limits(timeout),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise _as_httpx(error) from error
        return httpx.Response(
            answer.status,
            headers=answer.raw_headers,
            stream=_Stream(answer, timeout.get("read")),
            extensions={"reason_phrase": (answer.reason or "").encode("latin-1", "replace")},
        )

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session:
            await self._session.close()

    def _new_session(self) -> aiohttp.ClientSession:
        connector = aiohttp.TCPConnector(
            limit=self._max_connections,
            keepalive_timeout=KEEPALIVE_S,
            ssl=self._context,
            socket_factory=self._socket if self._socket_options else None,
        )
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            auto_decompress=False,
            trust_env=False,
            skip_auto_headers=_OWN_HEADERS,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
        )

    def _socket(self, address: Any) -> socket.socket:
        family, kind, protocol, _, _ = address
        opened = socket.socket(family, kind, protocol)
        for option in self._socket_options:
            opened.setsockopt(*option)
        return opened


class _Body(Payload):
    """The body of a request, which may take `write_s` seconds to be sent, or any time if that is None."""

    _autoclose = True

    def __init__(self, content: bytes, write_s: float | None) -> None:
        super().__init__(content)
        self._size = len(content)
        self._write_s = write_s

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> str:
        """Return the body as text."""
        return bytes(self._value).decode(encoding, errors)

    async def write(self, writer: AbstractStreamWriter) -> None:
        """Send the body. Raises TimeoutError."""
        async with asyncio.timeout(self._write_s):
            for start in range(0, len(self._value), _PIECE):
                await writer.write(self._value[start : start + _PIECE])


class _Stream(httpx.AsyncByteStream):
    """The body of an answer. If it is closed before its end, so is its connection.

    One without a length may be a stream of many small pieces. It may be silent for `silence_s` seconds, or for ever if
    that is None. The library would set a timer at each piece.
    """

    def __init__(self, answer: aiohttp.ClientResponse, silence_s: float | None) -> None:
        self._answer = answer
        self._silence: Silence | None = None
        protocol = answer.connection.protocol if answer.connection else None
        if protocol is not None and silence_s and "Content-Length" not in answer.headers:
            self._silence = Silence(silence_s, self._on_silence)
            protocol.read_timeout = None
            protocol.start_timeout()  # which ends the one that is set: it would fire while the reader is slow, too
        has_end = answer.headers.keys() & {"Content-Length", "Transfer-Encoding"}
        self._protocol = None if has_end else protocol
        self._is_read = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            while piece := await self._read():
                yield piece
        finally:
            self._end_silence()
        # the library takes a reset for the end of a body that ends with its connection
        if self._protocol is not None and isinstance(self._protocol.exception(), aiohttp.ClientOSError):
            raise httpx.ReadError("")

    async def _read(self) -> bytes:
        if self._silence:
            self._silence.begin_again()
        self._is_read = True
        try:
            return await self._answer.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            raise _as_httpx(error) from error
        finally:
            self._is_read = False

    def _on_silence(self) -> None:
        if self._is_read:  # else the reader is slow, and not the server
            self._answer.content.set_exception(aiohttp.SocketTimeoutError())

    def _end_silence(self) -> None:
        if self._silence:
            self._silence.end()

    async def aclose(self) -> None:
        self._end_silence()
        self._answer.close()


async def _see_closed_connections() -> None:
    """Let the loop learn which kept connections have been closed. It looks at the sockets in its second turn."""
    for _ in range(2):
        await asyncio.sleep(0)


def _url(url: httpx.URL) -> URL:
    """Return the URL without its user, whom httpx has made a header of. Nothing is quoted again."""
    return URL(str(url.copy_with(userinfo=b"") if url.userinfo else url), encoded=True)


def _limits(timeout: dict[str, float | None]) -> aiohttp.ClientTimeout:
    """Return httpx's time-outs. The wait for a place in the pool, the lookup of the name and the connect are one."""
    pool_s, connect_s = timeout.get("pool"), timeout.get("connect")
    both_s = None if pool_s is None or connect_s is None else pool_s + connect_s
    return aiohttp.ClientTimeout(total=None, connect=both_s, sock_connect=connect_s, sock_read=timeout.get("read"))


def _as_httpx(error: Exception) -> httpx.TransportError:
    """Return what httpx itself would raise. Its text is empty, because an error of the network names addresses."""
    return next(ours for theirs, ours in _ERRORS if isinstance(error, theirs))("")
