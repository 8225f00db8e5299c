"""Receivers of every kind, each a real server: the outcome, the time it takes, and how much of an answer is read."""

import asyncio
import gzip
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from shared.core.outcomes import SendError
from shared.senders.callbacks import MAX_SENDS, CallbackSender
from shared.senders.pinned_dialer import ANSWER_MAX
from tests.support.callback_receivers import (
    Certificate,
    Detour,
    Receiver,
    Script,
    broken_off,
    drip,
    raw,
    replies,
    reply,
    silence,
)
from tests.support.conditions import until

BODY = b'{"type": "response.completed"}'
PUBLIC = "93.184.216.34"
URL = "https://hooks.contoso.com/cb"
OK = b"HTTP/1.1 200 OK\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
BOMB = gzip.compress(bytes(50_000_000))
DATE = "Fri, 15 Jan 2027 09:00:00 GMT"


async def public(_host: str, _port: int) -> list[str]:
    """Resolve every name to one public address."""
    return [PUBLIC]


def over(detour: Detour, **settings: Any) -> CallbackSender:
    """Return a sender for which every name and address leads to one receiver."""
    given: dict[str, Any] = {"deadline_s": 5.0, "drain_s": 0.3, "resolve": public, "allow_loopback": True}
    return CallbackSender(dialer=detour, **{**given, **settings})


def drop_by_drop(data: bytes) -> Script:
    """Send these bytes one at a time, and close the connection."""

    async def play(writer: asyncio.StreamWriter) -> None:
        for byte in data:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.sleep(0.002)
        writer.close()

    return play


ZOO: dict[str, tuple[Script, int | SendError]] = {
    # slow
    "a head after a while": (raw(OK + b"content-length: 0\r\n\r\n", after_s=0.3), 200),
    "a head drop by drop": (drop_by_drop(OK + b"content-length: 2\r\n\r\nok"), 200),
    "a body drop by drop": (drip(OK + b"content-length: 1000000\r\n\r\n", b"x"), 200),
    "a chunked body drop by drop": (drip(CHUNKED, b"1\r\nx\r\n"), 200),
    # broken off
    "reset in the head": (broken_off(OK + b"x: "), SendError.CONNECT),
    "closed in the head": (raw(OK + b"x: "), SendError.PROTOCOL),
    "closed in the status": (raw(b"HTTP/1.1 2"), SendError.PROTOCOL),
    "reset in the body": (broken_off(OK + b"content-length: 100\r\n\r\nx"), 200),
    "closed in the body": (raw(OK + b"content-length: 100\r\n\r\nx"), 200),
    "closed in a chunk": (raw(CHUNKED + b"ff\r\nx"), 200),
    # too much
    "a flood of a body": (drip(OK + b"\r\n", b"x" * 65_536), 200),
    "a flood of chunks": (drip(CHUNKED, b"1\r\nx\r\n" * 10_000), 200),
    "a flood of headers": (drip(OK, b"x: y\r\n" * 10_000), SendError.PROTOCOL),
    "a flood of one header": (drip(OK + b"x: ", b"y" * 65_536), SendError.PROTOCOL),
    "a flood of 100s": (drip(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 2_000), SendError.PROTOCOL),
    "a flood without a line": (drip(b"", b"x" * 65_536), SendError.PROTOCOL),
    "a bomb": (reply(200, "content-encoding: gzip", body=BOMB), 200),
    "a bomb in chunks": (raw(CHUNKED[:-2] + b"content-encoding: gzip\r\n\r\nb000\r\n" + BOMB), 200),
    # odd, and good enough
    "100, 103 and then 204": (raw(b"HTTP/1.1 100 Go\r\n\r\nHTTP/1.1 103 Hints\r\nlink: x\r\n\r\n" + NO_CONTENT), 204),
    "HTTP/1.0": (raw(b"HTTP/1.0 200 OK\r\n\r\nok"), 200),
    "no reason": (raw(b"HTTP/1.1 200\r\ncontent-length: 0\r\n\r\n"), 200),
    "bare line feeds": (raw(b"HTTP/1.1 200 OK\ncontent-length: 0\n\n"), 200),
    "a body where there is none": (raw(NO_CONTENT + b"surprise"), 204),
    "two answers": (raw(NO_CONTENT + b"HTTP/1.1 500 Oh\r\n\r\n"), 204),
    "a chunk that is none": (raw(CHUNKED + b"zzz\r\n"), 200),
    # no answer at all
    "HTTP/0.9": (raw(b"<html>200 OK</html>\r\n"), SendError.PROTOCOL),
    "HTTP/2": (raw(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00" + bytes(18)), SendError.PROTOCOL),
    "TLS": (raw(b"\x15\x03\x01\x00\x02\x02\x46"), SendError.PROTOCOL),
    "another protocol": (raw(b"HTTP/1.1 101 Switch\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n"), SendError.PROTOCOL),
    "two status lines": (raw(OK + b"HTTP/1.1 500 Oh\r\n\r\n"), SendError.PROTOCOL),
    "a status of letters": (raw(b"HTTP/1.1 2OO OK\r\n\r\n"), SendError.PROTOCOL),
    "a status of four": (raw(b"HTTP/1.1 2000 OK\r\n\r\n"), SendError.PROTOCOL),
    "a status below all": (raw(b"HTTP/1.1 099 Oh\r\n\r\n"), SendError.PROTOCOL),
    "a header without a name": (raw(OK + b": x\r\n\r\n"), SendError.PROTOCOL),
    "a header with a NUL": (raw(OK + b"x: \x00\r\n\r\n"), SendError.PROTOCOL),
    "two lengths": (raw(OK + b"content-length: 1\r\ncontent-length: 2\r\n\r\nxx"), SendError.PROTOCOL),
    "a length below nothing": (raw(OK + b"content-length: -1\r\n\r\n"), SendError.PROTOCOL),
    "an unknown encoding": (raw(OK + b"transfer-encoding: rot13\r\n\r\n"), SendError.PROTOCOL),
}


@pytest.mark.parametrize(("script", "outcome"), ZOO.values(), ids=ZOO)
async def test_every_receiver_gives_a_status_or_an_error(script: Script, outcome: int | SendError) -> None:
    """The outcome is known long before the deadline, after little was read and exactly one request was sent."""
    async with Receiver(script) as receiver, aclosing(over(detour := Detour(receiver.port))) as sender:
        answer = await sender.post(receiver.url, {}, BODY)
        assert (answer.status or answer.error) == outcome
        assert answer.duration_ms < 3_000
        assert detour.heard <= ANSWER_MAX
        assert len(receiver.requests) == receiver.connections == 1


@pytest.mark.parametrize(
    "script",
    [drip(OK + b"content-length: 1000000\r\n\r\n", b"x" * 1_000), reply(200, body=BOMB)],
    ids=["slow flood", "bomb"],
)
async def test_the_connection_of_an_abandoned_answer_is_closed(script: Script) -> None:
    """The rest of an answer is never read as the beginning of the next one."""
    async with Receiver(script) as receiver, aclosing(over(Detour(receiver.port))) as sender:
        assert [(await sender.post(receiver.url, {}, BODY)).status for _ in range(2)] == [200, 200]
        assert receiver.connections == 2


async def test_the_size_limit_of_an_answer_is_not_one_of_its_connection() -> None:
    """The bytes of each answer are counted from 0, so a connection can be reused any number of times."""
    body = bytes(2_000)
    async with Receiver(reply(200, body=body)) as receiver, aclosing(over(detour := Detour(receiver.port))) as sender:
        for _ in range(20):
            assert (await sender.post(receiver.url, {}, BODY)).status == 200
        assert receiver.connections == 1
        assert detour.heard > 20 * len(body) > ANSWER_MAX


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(status: int) -> None:
    """The sender does not even connect to the target of a redirect."""
    async with Receiver(reply(200)) as other:
        script = reply(status, f"Location: {other.url}")
        async with Receiver(script) as receiver, aclosing(over(Detour(receiver.port))) as sender:
            answer = await sender.post(receiver.url, {}, BODY)
            assert (answer.status, other.connections) == (status, 0)


@pytest.mark.parametrize("asked", ["120", DATE, "soon", "-1", "", "\xe9", "1" * 64, "0"])
async def test_a_retry_after_header_is_returned_unchanged(asked: str) -> None:
    """The sender returns seconds, a date or invalid text alike. The retry policy decides what it means."""
    head = f"HTTP/1.1 429 Slow\r\nretry-after: {asked}\r\ncontent-length: 0\r\n\r\n".encode("latin-1")
    async with Receiver(raw(head)) as receiver, aclosing(over(Detour(receiver.port))) as sender:
        answer = await sender.post(receiver.url, {}, BODY)
        assert (answer.status, answer.retry_after) == (429, asked or None)


async def test_a_receiver_that_has_recovered_gets_the_next_attempt() -> None:
    """The outcome of one attempt does not affect the next one."""
    script = replies(reply(500), raw(b"oops"), reply(200))
    async with Receiver(script) as receiver, aclosing(over(Detour(receiver.port))) as sender:
        answers = [await sender.post(receiver.url, {}, BODY) for _ in range(3)]
        assert [answer.status or answer.error for answer in answers] == [500, SendError.PROTOCOL, 200]


async def test_a_receiver_that_does_not_read_is_a_timeout() -> None:
    """At the deadline the attempt is a timeout, and its connection is closed."""
    gone = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        await asyncio.sleep(0.5)
        writer.transport.resume_reading()  # type: ignore[attr-defined]
        while await reader.read(65_536):
            pass
        writer.close()
        gone.set()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    async with server, aclosing(over(Detour(server.sockets[0].getsockname()[1]), deadline_s=0.3)) as sender:
        answer = await sender.post("http://127.0.0.1/", {}, bytes(20_000_000))
        async with asyncio.timeout(5):
            await gone.wait()
    assert answer.error is SendError.TIMEOUT
    assert answer.duration_ms < 2_000


@pytest.mark.parametrize("script", [silence, reply(200)], ids=["silent", "speaks http"])
@pytest.mark.parametrize("connect_s", [0.2, 30.0], ids=["its own end", "the deadline"])
async def test_a_handshake_that_fails_leaves_no_connection(script: Script, connect_s: float) -> None:
    """The connection of a failed handshake is closed at the connect timeout, or at the deadline of the attempt."""
    async with Receiver(script) as receiver:
        sender = over(Detour(receiver.port), connect_s=connect_s, deadline_s=0.5)
        lost = await asyncio.gather(*(sender.post(URL, {}, BODY) for _ in range(MAX_SENDS)))
        assert {answer.error for answer in lost} <= {SendError.TIMEOUT, SendError.TLS}

        async def is_left() -> bool:
            return receiver.connections == MAX_SENDS and receiver.open_connections == 0

        await until(is_left)


async def test_a_server_without_tls_is_a_tls_error() -> None:
    """A receiver that speaks plain HTTP instead of TLS gets nothing of the event."""
    received = bytearray()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        received.extend(await reader.read(65_536))
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server, aclosing(over(Detour(server.sockets[0].getsockname()[1]))) as sender:
        assert (await sender.post(URL, {"webhook-signature": "v1,secret"}, BODY)).error is SendError.TLS
    assert b"secret" not in received
    assert b"completed" not in received


async def test_an_expired_certificate_is_a_tls_error(tmp_path: Path) -> None:
    """An expired certificate with the right name is refused before anything is sent."""
    certificate = Certificate(tmp_path, "hooks.contoso.com", expired=True)
    async with Receiver(reply(200), certificate.server) as receiver:
        async with aclosing(over(Detour(receiver.port), ssl_context=certificate.client)) as sender:
            assert (await sender.post(URL, {}, BODY)).error is SendError.TLS
        assert receiver.requests == []


async def test_tls_that_breaks_after_the_handshake_is_an_error_value(tmp_path: Path) -> None:
    """Bytes that are not TLS end the attempt."""
    certificate = Certificate(tmp_path, "hooks.contoso.com")

    async def break_in(writer: asyncio.StreamWriter) -> None:
        with writer.get_extra_info("socket").dup() as beside:
            beside.send(b"HTTP/1.1 200 OK\r\n\r\n")
        await asyncio.sleep(0.1)

    async with Receiver(break_in, certificate.server) as receiver:
        async with aclosing(over(Detour(receiver.port), ssl_context=certificate.client)) as sender:
            answer = await sender.post(URL, {}, BODY)
        assert answer.error in {SendError.TLS, SendError.CONNECT}


async def test_a_slow_name_server_that_answers_in_time_is_used(tmp_path: Path) -> None:
    """An answer within the time limit is used."""

    async def slow(_host: str, _port: int) -> list[str]:
        await asyncio.sleep(0.2)
        return [PUBLIC]

    certificate = Certificate(tmp_path, "hooks.contoso.com")
    async with Receiver(reply(200), certificate.server) as receiver:
        sender = over(Detour(receiver.port), resolve=slow, resolve_s=5.0, ssl_context=certificate.client)
        async with aclosing(sender):
            assert (await sender.post(URL, {}, BODY)).status == 200
