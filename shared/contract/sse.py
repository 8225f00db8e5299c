"""Server-sent events: frames out, messages in. Pure: bytes in, bytes or messages out.

Reading follows the standard, and never holds much more than the limit in memory:
https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
Lines are cut before they are decoded. That is safe, because no byte of a longer UTF-8 sequence is CR or LF.

httpx-sse 0.4.3 is not used, for these reasons. It makes an event of the blank line after an `id:` or `event:` without
data, which looks like an event with empty data. It reads a byte order mark into the first field. It delays an event
that ends in CR until the next chunk. It has no limit, and its decoders are private.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass

# No blank line follows it. openai-python remembers the last `id:` and turns the next blank line into an event without
# data, which it then fails to parse. A comment that ends in one newline works with every SDK that was tried.
HEARTBEAT = b": heartbeat\n"
_BOM = b"\xef\xbb\xbf"
# U+0085, U+2028 and U+2029 in UTF-8, and as JSON writes them. Readers that cut lines as str.splitlines does, such as
# httpx's `iter_lines`, end a line at each.
_SEPARATORS = ((b"\xc2\x85", rb"\u0085"), (b"\xe2\x80\xa8", rb"\u2028"), (b"\xe2\x80\xa9", rb"\u2029"))


class Oversized(Exception):
    """An event is larger than the limit."""


class TooManyLines(Exception):
    """The stream has more lines than the limit."""


@dataclass(frozen=True, slots=True)
class Message:
    """One event: its type, its data lines joined by LF, and the last event id so far."""

    kind: str
    data: str
    id: str


def frame(kind: str | None, data: bytes, event_id: str | None = None) -> bytes:
    """Return the bytes of an event. `data` is JSON text, and what some readers take for line ends in it is escaped.

    Raises ValueError if a field contains a line end, which would begin a new field.
    """
    named = ((b"id", event_id), (b"event", kind))
    fields = [b"%b: %b" % (name, value.encode()) for name, value in named if value is not None]
    fields.append(b"data: " + _escaped(data))
    if any(b"\n" in field or b"\r" in field for field in fields):
        raise ValueError("a field of an event must be one line")
    return b"\n".join([*fields, b"", b""])


def comment(text: bytes) -> bytes:
    """Return the bytes of a comment, which readers ignore. `text` is one line."""
    return b": %b\n" % text


def _escaped(data: bytes) -> bytes:
    if data.isascii():
        return data
    for raw, escape in _SEPARATORS:
        data = data.replace(raw, escape)
    return data


async def messages(
    chunks: AsyncIterator[bytes], most: int, *, most_lines: float = math.inf, with_rest: bool = False
) -> AsyncGenerator[Message, None]:
    """Yield the events of a stream, however it is cut into chunks.

    An event is ignored unless a blank line follows it. `with_rest`: the last one is yielded without, because some
    servers end so. The caller must then be able to see whether its data are whole. Raises Oversized as soon as an
    event, finished or not, is larger than `most` bytes. Comments and line ends do not count, but the unfinished line
    does. Raises TooManyLines above `most_lines` of them, of which comments and blank lines are some. The caller must
    close `chunks`.
    """
    lines, event, count = _Lines(), _Event(most), 0
    async for chunk in chunks:
        whole = lines.cut(chunk)
        count += len(whole)
        if count > most_lines:
            raise TooManyLines
        for line in whole:
            if message := event.take(line):
                yield message
        event.check(lines.begun)
    if with_rest and (message := event.take(lines.rest()) or event.take(b"")):
        yield message


class _Lines:
    """Cuts chunks into lines that end in CR LF, LF or CR. Each byte is scanned once."""

    __slots__ = ("_bom", "_last", "_rest")

    def __init__(self) -> None:
        self._bom = _BOM
        self._last = b""
        self._rest = bytearray()

    @property
    def begun(self) -> int:
        """The length of the unfinished line, in bytes."""
        return len(self._rest)

    def cut(self, chunk: bytes) -> list[bytes]:
        """Return the lines that end in this chunk. A CR ends its line at once, because its LF may come much later."""
        text = chunk.removeprefix(b"\n") if self._last == b"\r" else chunk
        self._last = chunk[-1:] or self._last
        *lines, rest = text.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n")
        if lines:
            lines[0] = (bytes(self._rest) + lines[0]).removeprefix(self._bom)
            self._bom = b""
            self._rest.clear()
        self._rest += rest
        return lines

    def rest(self) -> bytes:
        """Return the unfinished line."""
        return bytes(self._rest).removeprefix(self._bom)


class _Event:
    """The event that is being read."""

    __slots__ = ("_data", "_id", "_kind", "_most", "_size")

    def __init__(self, most: int) -> None:
        self._most = most
        self._size = 0
        self._kind = b""
        self._data = bytearray()
        self._id = ""

    def check(self, length: int) -> None:
        """Raise Oversized if there is no room for a line of `length` bytes."""
        if self._size + length > self._most:
            raise Oversized

    def take(self, line: bytes) -> Message | None:
        """Read one line. A blank line ends the event, which is returned if it has data."""
        self.check(len(line))
        if not line:
            return self._end()
        # comments do not count, so the heartbeats of a long silence do not add up
        if not line.startswith(b":"):
            self._size += len(line)
            name, _, value = line.partition(b":")
            self._set(name, value.removeprefix(b" "))
        return None

    def _set(self, name: bytes, value: bytes) -> None:
        if name == b"data":
            self._data += value + b"\n"
        elif name == b"event":
            self._kind = value
        elif name == b"id" and b"\0" not in value:
            self._id = _text(value)

    def _end(self) -> Message | None:
        kind, data = self._kind, self._data
        self._size, self._kind, self._data = 0, b"", bytearray()
        return Message(_text(kind) or "message", _text(data[:-1]), self._id) if data else None


def _text(value: bytes | bytearray) -> str:
    return value.decode(errors="replace")
