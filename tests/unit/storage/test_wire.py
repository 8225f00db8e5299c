"""Requests to the table: how they are authorized, which are sent again, and what no answer means."""

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Self

import pytest
from azure.core.credentials import AccessToken, AzureNamedKeyCredential, AzureSasCredential
from azure.core.exceptions import AzureError, ServiceRequestError, ServiceResponseError
from yarl import URL

from shared.storage.wire import SCOPE, Credential, Wire
from tests.unit.upstreams.servers import HEAD, SMALL, Server, always, serving

KEY = AzureNamedKeyCredential("account", "c2VjcmV0")
HEADERS = {"Accept": "application/json"}
ABSENT = "https://account.table.core.windows.net/t"


def answer(status: int, *headers: str) -> bytes:
    """Return an answer without a body."""
    return "\r\n".join([f"HTTP/1.1 {status} Reason", *headers, "Content-Length: 0", "", ""]).encode()


def in_turn(*answers: bytes) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
    """Give one answer after the other. An empty one closes the connection."""
    left = list(answers)

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (content := left.pop(0)):
            raise ConnectionError
        writer.write(content)
        await writer.drain()

    return respond


async def asked(server: Server, method: str = "GET", path: str = "/t", credential: Credential = KEY) -> Any:
    """Send one request and return its answer, or its error."""
    wire = Wire(credential, retries=3)
    try:
        return await wire.ask(
            method, server.url.removesuffix("/v1") + path, HEADERS, b"{}" if method == "POST" else b""
        )
    except AzureError as error:
        return error
    finally:
        await wire.aclose()


def header(server: Server, name: str) -> str:
    """Return a header of the last request."""
    found = re.search(rb"^" + name.encode() + rb": (.*?)\r$", server.heads[-1], re.MULTILINE | re.IGNORECASE)
    return found[1].decode() if found else ""


# Authorization


async def test_a_request_is_signed_with_the_accounts_key() -> None:
    """The signature covers the method, the content type, the date and the path as it is sent.

    Azurite checks the same in the tests of the table's client.
    https://learn.microsoft.com/rest/api/storageservices/authorize-with-shared-key
    """
    async with serving(always(SMALL, keeps_open=True)) as server:
        await asked(server, path="/t(PartitionKey=%27a%27)?%24top=1")
        assert re.fullmatch(r"SharedKey account:[A-Za-z0-9+/]{43}=", header(server, "Authorization"))
        assert header(server, "x-ms-date").endswith(" GMT")
        assert server.heads[-1].startswith(b"GET /t(PartitionKey=%27a%27)?%24top=1 HTTP/1.1")
        assert b"c2VjcmV0" not in server.heads[-1]


@pytest.mark.parametrize(("path", "sent"), [("/t", "/t?sv=1&sig=a%3D"), ("/t?x=1", "/t?x=1&sv=1&sig=a%3D")])
@pytest.mark.parametrize("given", ["sv=1&sig=a%3D", "?sv=1&sig=a%3D"])
async def test_a_shared_access_signature_is_the_end_of_the_url(path: str, sent: str, given: str) -> None:
    """It is sent as it was given, and the request needs no header."""
    async with serving(always(SMALL, keeps_open=True)) as server:
        await asked(server, path=path, credential=AzureSasCredential(given))
        assert server.heads[-1].startswith(f"GET {sent} HTTP/1.1".encode())
        assert not header(server, "Authorization")


class Identity:
    """An identity whose tokens are numbered."""

    def __init__(self, lives_s: int) -> None:
        self.scopes: list[tuple[str, ...]] = []
        self._lives_s = lives_s

    async def get_token(self, *scopes: str, **_options: Any) -> AccessToken:
        """Return the next token."""
        self.scopes.append(scopes)
        return AccessToken(f"token-{len(self.scopes)}", int(time.time()) + self._lives_s)

    async def close(self) -> None:
        """Close nothing."""

    async def __aenter__(self) -> Self:
        """Open nothing."""
        return self

    async def __aexit__(self, *_: object) -> None:
        """Close nothing."""


async def sent_by(identity: Identity, urls: list[str]) -> list[str]:
    """Return the tokens of requests by an identity. Their URLs are HTTPS, so only their headers are made."""
    wire, found = Wire(identity, retries=3), []
    for url in urls:
        headers: dict[str, str] = {}
        await wire._authorize("GET", URL(url, encoded=True), headers)
        found.append(headers["Authorization"])
    return found


async def test_a_token_is_kept_until_it_is_about_to_expire() -> None:
    """An identity is asked for storage's scope, once for all requests of an hour. A short token is asked for again."""
    long, short = Identity(3_600), Identity(60)
    assert await sent_by(long, [ABSENT] * 3) == ["Bearer token-1"] * 3
    assert long.scopes == [(SCOPE,)]
    assert await sent_by(short, [ABSENT] * 2) == ["Bearer token-1", "Bearer token-2"]


# Repeats


@pytest.mark.parametrize("status", [429, 500, 503, 504])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_a_busy_storage_is_asked_again(method: str, status: int) -> None:
    """It has not carried out the request, or the store finds its own write."""
    async with serving(in_turn(answer(status), SMALL)) as server:
        found = await asked(server, method)
        assert (found.status, found.content, len(server.heads)) == (200, b"{}", 2)


@pytest.mark.parametrize("status", [200, 202, 204, 304, 400, 401, 403, 404, 409, 412, 413, 501])
async def test_any_other_answer_is_returned(status: int) -> None:
    """So is a refusal. Its meaning is the caller's."""
    async with serving(in_turn(answer(status, "x-ms-error-code: Code"))) as server:
        found = await asked(server, "POST")
        assert (found.status, found.headers["x-ms-error-code"], len(server.heads)) == (status, "Code", 1)


async def test_storage_that_stays_busy_is_asked_four_times() -> None:
    """The last answer is returned."""
    async with serving(always(answer(503), keeps_open=True)) as server:
        assert (await asked(server)).status == 503
        assert len(server.heads) == 4


async def test_the_wait_that_storage_asks_for_is_kept() -> None:
    """It is in seconds, and other forms count as none."""
    async with serving(
        in_turn(answer(503, "Retry-After: Thu, 01 Jan 2026 00:00:00 GMT"), answer(429), SMALL)
    ) as server:
        assert (await asked(server)).status == 200
    began_s = time.monotonic()
    async with serving(in_turn(answer(503, "Retry-After: 1"), SMALL)) as server:
        assert (await asked(server)).status == 200
    assert time.monotonic() - began_s >= 1


@pytest.mark.parametrize(("method", "times"), [("GET", 2), ("DELETE", 2), ("POST", 1)])
async def test_a_request_that_may_have_arrived_is_sent_again_unless_it_writes(method: str, times: int) -> None:
    """The connection is closed without an answer. What becomes of a write is then found out by the store."""
    async with serving(in_turn(b"", HEAD + b"Content-Length: 0\r\n\r\n")) as server:
        found = await asked(server, method)
        # aiohttp itself repeats a GET on a connection that was kept, which this is not
        assert len(server.heads) == times
        assert isinstance(found, ServiceResponseError) is (method == "POST")


async def test_a_write_that_was_not_sent_is_sent_again() -> None:
    """Nothing listens there until later, so no request has arrived, and the error says so."""
    async with serving(always(SMALL)) as server:
        pass
    began_s = time.monotonic()
    found = await asked(server, "POST")
    assert isinstance(found, ServiceRequestError)
    assert time.monotonic() - began_s >= 0.2 + 0.4 + 0.8


async def test_a_write_that_may_have_arrived_once_is_not_called_unsent() -> None:
    """Although nothing listens for its repeats. An error of storage may come after it has written."""

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        listening.close()  # accepts no connection from now on
        writer.write(answer(500))
        await writer.drain()
        writer.close()

    server = Server(always(b""))
    listening = await asyncio.start_server(respond, "127.0.0.1", 0)
    server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
    assert isinstance(await asked(server, "POST"), ServiceResponseError)


async def test_a_large_body_arrives_whole_each_time() -> None:
    """One above 1 MiB is sent in pieces, from its beginning in a repeat, too."""
    sizes: list[int] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        sizes.append(len(await reader.readexactly(2_000_000)))
        writer.write(answer(503) if len(sizes) == 1 else SMALL)
        await writer.drain()

    async with serving(respond) as server:
        wire = Wire(KEY, retries=3)
        found = await wire.ask("POST", server.url, HEADERS, bytes(2_000_000))
        await wire.aclose()
        assert (found.status, sizes) == (200, [2_000_000] * 2)
