"""The transport under httpx gives the same requests, answers and errors as httpx's own."""

import asyncio
import socket
import struct

import httpx
import pytest

from tests.unit.upstreams.servers import HEAD, SMALL, always, client, ours, outcome, serving

ANSWERS = {
    "length": SMALL,
    "chunks": HEAD + b'Transfer-Encoding: chunked\r\n\r\n3\r\n{"a\r\n4\r\n":1}\r\n0\r\n\r\n',
    "until the end": HEAD + b"Connection: close\r\n\r\n{}",
    "compressed": HEAD + b"Content-Encoding: gzip\r\nContent-Length: 9\r\n\r\nnot gzip!",
    "nothing": b"HTTP/1.1 204 No Content\r\n\r\n",
    "redirect": b"HTTP/1.1 307 Temporary Redirect\r\nLocation: /elsewhere\r\nContent-Length: 0\r\n\r\n",
    "continue": b"HTTP/1.1 100 Continue\r\n\r\n" + SMALL,
    "old": b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nold",
    "twice the same header": HEAD + b"X-A: 1\r\nX-A: 2\r\nContent-Length: 0\r\n\r\n",
    "long header": HEAD + b"X-Long: %s\r\nContent-Length: 0\r\n\r\n" % (b"a" * 30_000),
    "dropped": b"",
    "cut status": b"HTTP/1.1 2",
    "not HTTP": b"\x00\x01\x02\r\n\r\n",
    "cut head": HEAD,
    "cut body": HEAD + b"Content-Length: 100\r\n\r\n{",
    "cut chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "bad chunk": HEAD + b"Transfer-Encoding: chunked\r\n\r\nnot hex\r\n",
    "two lengths": HEAD + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
}


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
@pytest.mark.parametrize("answer", ANSWERS.values(), ids=ANSWERS)
async def test_an_answer_is_what_it_is_to_httpx(method: str, answer: bytes) -> None:
    """Status, headers, undecoded body and the class of an error are the same as with httpx's own transport."""
    async with serving(always(answer)) as server, client() as by_ours, client(httpx.AsyncHTTPTransport()) as by_httpx:
        got, expected = [await outcome(http, method, server.url) for http in (by_ours, by_httpx)]
    assert got == expected


@pytest.mark.parametrize(
    "begun", [b"", HEAD, ANSWERS["cut body"], ANSWERS["cut chunk"], ANSWERS["until the end"]], ids=range(5)
)
async def test_a_reset_connection_is_an_error(begun: bytes) -> None:
    """A server that is killed resets its connections. What it has sent until then is not taken as a whole answer."""

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begun)
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        await asyncio.sleep(0.05)  # what it has answered arrives
        writer.transport.abort()
        raise ConnectionError

    async with serving(respond) as server, client() as by_ours, client(httpx.AsyncHTTPTransport()) as by_httpx:
        names = {str(await outcome(http, "POST", server.url, content=b"{}")) for http in (by_ours, by_httpx)}
    assert names <= {"ReadError", "RemoteProtocolError"}


async def test_a_request_is_what_it_is_from_httpx() -> None:
    """Request line, names and values of headers, and the length of the body are the same, with and without a body."""
    requests = [
        ("GET", "/a%2Fb/%7Ec?include%5B%5D=x&y=%20", {}),
        ("POST", "/cancel", {}),
        ("POST", "/", {"content": b"{}", "headers": {"X-Api-KEY": "a b", "content-type": "application/json"}}),
        ("DELETE", "/", {}),
    ]
    seen = []
    for transport in (ours(), httpx.AsyncHTTPTransport()):
        async with serving(always(SMALL)) as server, client(transport) as http:
            for method, path, options in requests:
                await outcome(http, method, server.url + path, **options)
            port = server.url.split(":")[2].split("/")[0].encode()
            seen.append([set(head.replace(port, b"PORT").split(b"\r\n")) for head in server.heads])
    by_ours, by_httpx = seen
    by_httpx[-1].add(b"Content-Length: 0")  # the one difference, which says the same
    assert by_ours == by_httpx
    assert len(by_ours) == len(requests)


@pytest.mark.parametrize("size", [1, 65_536, 3_000_001])
async def test_a_body_of_any_size_arrives_whole(size: int) -> None:
    """A large body is sent in pieces, with its length."""
    received = b""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal received
        received = await reader.readexactly(size)
        writer.write(SMALL)

    content = bytes(range(256)) * (size // 256 + 1)
    async with serving(respond) as server, client() as http:
        assert (await http.post(server.url, content=content[:size])).status_code == 200
    assert received == content[:size]


async def test_the_user_of_a_url_becomes_a_header() -> None:
    """The name and the password are not part of the request line."""
    async with serving(always(SMALL)) as server, client() as http:
        assert (await http.get(server.url.replace("//", "//ann:secret@"))).status_code == 200
        assert b"authorization: basic " in server.heads[0].lower()
        assert server.heads[0].startswith(b"GET /v1 HTTP/1.1\r\n")


async def test_cookies_are_not_kept() -> None:
    """A cookie of one answer is not sent with the next request."""
    answer = HEAD + b"Set-Cookie: a=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with serving(always(answer, keeps_open=True)) as server, client() as http:
        for _ in range(2):
            http.cookies.clear()
            await http.get(server.url)
        assert not any(b"cookie" in head.lower() for head in server.heads)


async def test_a_header_that_cannot_be_sent_is_an_error() -> None:
    """A line break in a value would begin another header."""
    async with serving(always(SMALL)) as server, client() as http:
        assert await outcome(http, "GET", server.url, headers={"x-a": "a\r\nb: c"}) == "LocalProtocolError"
        assert server.heads == []
