"""Receivers of callbacks as loopback servers that answer well, badly or never."""

import asyncio
import contextlib
import datetime
import ipaddress
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpcore
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.support.fakes.peers import head_of

Script = Callable[[asyncio.StreamWriter], Awaitable[None]]


@dataclass(frozen=True)
class Request:
    """One request as it was received: its request line, its headers with names in lower case, and its body."""

    line: str
    headers: dict[str, str]
    body: bytes


class Receiver:
    """A loopback server that records every request and then plays its script."""

    def __init__(self, script: Script, tls: ssl.SSLContext | None = None) -> None:
        self._script = script
        self._tls = tls
        self._writers: list[asyncio.StreamWriter] = []
        self.requests: list[Request] = []

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=self._tls)
        self.port: int = self._server.sockets[0].getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}/cb?key=hidden"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        for writer in self._writers:
            writer.transport.abort()
        await self._server.wait_closed()

    @property
    def connections(self) -> int:
        """The number of connections made so far."""
        return len(self._writers)

    @property
    def open_connections(self) -> int:
        """The number of connections that are open."""
        return sum(not writer.is_closing() for writer in self._writers)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError, OSError):
            while not writer.is_closing():
                self.requests.append(await _read_request(reader))
                await self._script(writer)
        writer.transport.abort()


async def _read_request(reader: asyncio.StreamReader) -> Request:
    line, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    return Request(line, headers, await reader.readexactly(int(headers.get("content-length", 0))))


def reply(status: int, *fields: str, body: bytes = b"") -> Script:
    """Return a script that sends a complete answer at once."""

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(_head(status, f"content-length: {len(body)}", *fields) + body)
        await writer.drain()

    return play


def raw(data: bytes, *, after_s: float = 0) -> Script:
    """Return a script that waits, sends these bytes and closes the connection."""

    async def play(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(after_s)
        writer.write(data)
        await writer.drain()
        writer.close()

    return play


def replies(*scripts: Script) -> Script:
    """Return a script that plays the given ones in turn and repeats the last one."""
    left = list(scripts)

    async def play(writer: asyncio.StreamWriter) -> None:
        await head_of(left)(writer)

    return play


def broken_off(data: bytes) -> Script:
    """Return a script that sends these bytes and resets the connection."""

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(data)
        await writer.drain()
        await asyncio.sleep(0.05)  # a reset discards what the peer has not read yet
        await hang_up(writer)

    return play


def drip(start: bytes, drop: bytes) -> Script:
    """Return a script that sends the start, then a drop every 5 ms without end."""

    async def play(writer: asyncio.StreamWriter) -> None:
        writer.write(start)
        while not writer.is_closing():
            writer.write(drop)
            await writer.drain()
            await asyncio.sleep(0.005)

    return play


async def silence(_writer: asyncio.StreamWriter) -> None:
    """Never answer."""
    await asyncio.Event().wait()


async def hang_up(writer: asyncio.StreamWriter) -> None:
    """Reset the connection without an answer."""
    lingers_not = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, lingers_not)
    writer.transport.abort()


def endless(status: int) -> bytes:
    """Return the head of an answer that announces a body of 10^12 bytes."""
    return _head(status, f"content-length: {10**12}")


def _head(status: int, *fields: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Status", *fields, "", ""]).encode()


class Detour(httpcore.AsyncNetworkBackend):
    """A network in which every address leads to one loopback port, and those in `dead` cannot be connected to.

    `dialled` holds the addresses in the order of the connections. `heard` counts the bytes read, without TLS. A
    connection reports the dialled address as its peer unless `exposed` is set.
    """

    def __init__(self, port: int, *, dead: tuple[str, ...] = (), exposed: bool = False) -> None:
        self._port = port
        self._dead = dead
        self._exposed = exposed
        self.dialled: list[str] = []
        self.heard = 0

    async def connect_tcp(
        self, host: str, port: int, timeout: float | None = None, *_: object, **__: object
    ) -> httpcore.AsyncNetworkStream:
        """Record the address and connect to the receiver."""
        self.dialled.append(host)
        if host in self._dead:
            raise httpcore.ConnectError
        stream = await httpcore.AnyIOBackend().connect_tcp("127.0.0.1", self._port, timeout)
        return stream if self._exposed else _Posing(stream, (host, port), self)


class _Posing(httpcore.AsyncNetworkStream):
    def __init__(self, stream: httpcore.AsyncNetworkStream, peer: tuple[str, int], detour: Detour) -> None:
        self._stream = stream
        self._peer = peer
        self._detour = detour

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        data = await self._stream.read(max_bytes, timeout)
        self._detour.heard += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:
        await self._stream.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._stream.aclose()

    async def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.AsyncNetworkStream:
        return await self._stream.start_tls(ssl_context, server_hostname, timeout)

    def get_extra_info(self, info: str) -> Any:
        return self._peer if info == "server_addr" else self._stream.get_extra_info(info)


class Certificate:
    """A self-signed certificate with a server context that uses it and a client context that trusts only it."""

    def __init__(self, folder: Path, *names: str, expired: bool = False) -> None:
        key = ec.generate_private_key(ec.SECP256R1())
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(hours=-1 if expired else 1)
        signed = _signed(key, names, end).public_bytes(serialization.Encoding.PEM)
        (folder / "pair.pem").write_bytes(signed + _pem(key))
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.server.load_cert_chain(folder / "pair.pem")
        self.server.sni_callback = lambda _socket, name, _context: self.asked_for.append(name)
        self.client = ssl.create_default_context(cadata=signed.decode())
        self.asked_for: list[str | None] = []


def _pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _signed(key: ec.EllipticCurvePrivateKey, names: tuple[str, ...], end: datetime.datetime) -> x509.Certificate:
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a receiver of these tests")])
    return (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(end - datetime.timedelta(hours=2))
        .not_valid_after(end)
        .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
