"""The transport under httpx: no POST is ever sent twice, and each fault says whether anything was sent."""

import asyncio
import socket
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import cast

import httpx
import pytest

from local.stack.ports import free_port
from shared.upstreams import tries
from tests.support.callback_receivers import Certificate
from tests.unit.upstreams.servers import HEAD, SMALL, always, client, ours, outcome, serving, silence

PIECE = b"1\r\n{\r\n"
STREAM = b"Transfer-Encoding: chunked\r\n\r\n" + PIECE
SILENCE_S = 0.2


async def test_a_post_is_sent_once() -> None:
    """If the server closes the connection without an answer, it may have read the request. So it counts as a try."""
    async with serving(always(b"")) as server, client() as http:
        name = await outcome(http, "POST", server.url, content=b"{}")
        assert (name, len(server.heads)) == ("RemoteProtocolError", 1)
    assert tries.of_transport(str(name)) is tries.Meaning.COUNTED


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_request_that_changes_nothing_is_sent_once_more(method: str) -> None:
    """The library repeats it once. After that it is an error."""
    async with serving(always(b"")) as server, client() as http:
        assert await outcome(http, method, server.url) == "RemoteProtocolError"
        assert len(server.heads) == 2


async def test_a_kept_connection_that_the_server_closed_is_not_used() -> None:
    """A POST after that is sent on a new connection, and no try is lost."""
    async with serving(always(SMALL)) as server, client() as http:
        for number in range(1, 4):
            assert (await http.post(server.url, content=b"{}")).status_code == 200
            assert server.connections == len(server.heads) == number


async def test_a_post_on_a_connection_that_closes_at_that_moment_counts_as_a_try() -> None:
    """Whether the server has read it cannot be known. It is not sent again."""
    answers = [SMALL, b""]

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not (answer := answers.pop(0)):
            writer.transport.abort()
        writer.write(answer)

    async with serving(respond) as server, client() as http:
        assert (await http.post(server.url, content=b"{}")).status_code == 200
        name = await outcome(http, "POST", server.url, content=b"{}")
        assert (server.connections, len(server.heads)) == (1, 2)
    assert name in ("RemoteProtocolError", "ReadError")
    assert tries.of_transport(str(name)) is tries.Meaning.COUNTED


async def test_one_connection_serves_one_request_after_the_other() -> None:
    """A connection is kept for the next request if its answer was read to the end."""
    async with serving(always(SMALL, keeps_open=True)) as server, client() as http:
        for _ in range(5):
            await http.post(server.url, content=b"{}")
        assert server.connections == 1


async def test_a_body_is_read_as_it_arrives_and_closing_it_early_closes_the_connection() -> None:
    """Each piece is there before the next one is sent. The next request has a connection of its own."""
    more = asyncio.Event()

    async def respond(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n")
        await more.wait()
        writer.write(b"3\r\ntwo\r\n")

    async with serving(respond) as server, client() as http:
        async with (
            http.stream("GET", server.url) as answer,
            aclosing(cast("AsyncGenerator[bytes]", answer.aiter_raw())) as pieces,
        ):
            assert await anext(pieces) == b"one"
            more.set()
            assert await anext(pieces) == b"two"
        await server.closed.wait()
        async with http.stream("GET", server.url):
            assert server.connections == 2


async def test_a_cancelled_request_closes_its_connection() -> None:
    """The deadline of a call cancels its request, and nothing of it remains."""
    async with serving(silence) as server, client() as http:
        asked = asyncio.create_task(outcome(http, "POST", server.url, content=b"{}"))
        while not server.heads:  # noqa: ASYNC110 - the server has no event for it
            await asyncio.sleep(0.01)
        asked.cancel()
        await asyncio.wait([asked])
        assert asked.cancelled()


async def test_the_options_of_sockets_are_set() -> None:
    """Such as the probes of an upstream that may be silent for hours."""
    options = [(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 600)]
    async with serving(always(SMALL)) as server:
        async with client(ours(socket_options=options)) as http:
            await http.get(server.url)
            assert server.segment <= 600
        async with client() as http:
            await http.get(server.url)
            assert server.segment > 600


# No connection, and time-outs


async def test_a_port_without_a_server_says_that_nothing_was_sent() -> None:
    """So do a name that does not exist, and a server with another certificate."""
    async with client(timeout=5) as http:
        names = [
            await outcome(http, "POST", url, content=b"{}")
            for url in (f"http://127.0.0.1:{free_port()}", "http://x.invalid")
        ]
    assert names[0] == "ConnectError"
    assert all(tries.of_transport(str(name)) is tries.Meaning.FREE for name in names)


async def test_the_certificate_of_a_server_is_checked(tmp_path: Path) -> None:
    """A server whose certificate the context does not trust gets no request."""
    certificate = Certificate(tmp_path, "127.0.0.1")
    async with serving(always(SMALL), certificate.server) as server, client() as http:
        assert await outcome(http, "POST", server.url, content=b"{}") == "ConnectError"
        assert server.heads == []


async def test_a_server_with_a_trusted_certificate_is_asked(tmp_path: Path) -> None:
    """The context decides whom to trust."""
    certificate = Certificate(tmp_path, "localhost")
    trusting = ours(context=certificate.client)
    async with serving(always(SMALL), certificate.server) as server, client(trusting) as http:
        assert (await http.get(server.url.replace("127.0.0.1", "localhost"))).status_code == 200


async def test_a_silent_server_is_a_read_time_out() -> None:
    """It is so before the head of the answer and in the middle of its body, whatever says where that ends."""
    ends = (b"Content-Length: 100\r\n\r\n{", STREAM, b"Connection: close\r\n\r\n{")
    for respond in (silence, *(always(HEAD + end, keeps_open=True) for end in ends)):
        async with serving(respond) as server, client(timeout=httpx.Timeout(5, read=0.1)) as http:
            assert await outcome(http, "POST", server.url, content=b"{}") == "ReadTimeout"
            assert len(server.heads) == 1


async def test_a_stream_may_last_longer_than_its_longest_silence() -> None:
    """Each piece ends a silence."""

    async def respond(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(HEAD + STREAM)
        for _ in range(10):
            await asyncio.sleep(SILENCE_S / 4)
            writer.write(PIECE)
        writer.write(b"0\r\n\r\n")

    async with serving(respond) as server, client(timeout=httpx.Timeout(5, read=SILENCE_S)) as http:
        began_s = asyncio.get_running_loop().time()
        answer = await http.get(server.url)
        took_s = asyncio.get_running_loop().time() - began_s
    assert answer.content == b"{" * 11
    assert took_s > SILENCE_S


async def test_a_slow_reader_is_no_silent_server() -> None:
    """What it reads late has arrived in time. It is the wait for more that counts, and only while it lasts."""
    served = always(HEAD + STREAM + PIECE, keeps_open=True)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(served))
        http = await stack.enter_async_context(client(timeout=httpx.Timeout(5, read=SILENCE_S)))
        answered = await stack.enter_async_context(http.stream("GET", server.url))
        await asyncio.sleep(3 * SILENCE_S)
        pieces = answered.aiter_raw()
        began_s = asyncio.get_running_loop().time()
        assert await anext(pieces) == b"{{"
        with pytest.raises(httpx.ReadTimeout):
            await anext(pieces)
        assert asyncio.get_running_loop().time() - began_s >= SILENCE_S


async def test_a_server_that_does_not_read_is_a_write_time_out() -> None:
    """A body that cannot be sent in time may have been read in part, so the try counts."""
    async with serving(silence) as server, client(timeout=httpx.Timeout(5, write=0.2, read=None)) as http:
        name = await outcome(http, "POST", server.url, content=bytes(30_000_000))
    assert name == "WriteTimeout"
    assert tries.of_transport(str(name)) is tries.Meaning.COUNTED


async def test_a_full_pool_says_that_nothing_was_sent() -> None:
    """A request that gets no connection in time is a try that does not count."""
    timeout = httpx.Timeout(5, pool=0.1, connect=0.1)
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(serving(always(HEAD + b"Content-Length: 9\r\n\r\n{", keeps_open=True)))
        http = await stack.enter_async_context(client(ours(max_connections=1), timeout=timeout))
        await stack.enter_async_context(http.stream("GET", server.url))
        name = await outcome(http, "POST", server.url, content=b"{}")
        assert len(server.heads) == 1
    assert tries.of_transport(str(name)) is tries.Meaning.FREE


async def test_a_transport_that_was_never_used_can_be_closed() -> None:
    """Closing makes no connection."""
    async with client():
        pass
