"""Server-sent events: the examples of the standard, every possible split into chunks, and the size limit of an event.

https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
"""

import asyncio
import re
import time
from collections.abc import AsyncIterator, Iterable
from itertools import pairwise

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.sse import HEARTBEAT, Message, Oversized, frame, messages

AMPLE = 1_000_000
BOM = b"\xef\xbb\xbf"


async def stream(chunks: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Yield the chunks as a connection would."""
    for chunk in chunks:
        yield chunk


def read(chunks: Iterable[bytes], most: int = AMPLE, *, with_rest: bool = False) -> list[Message]:
    """Return the messages of a stream that arrives in these chunks."""

    async def collect() -> list[Message]:
        return [message async for message in messages(stream(chunks), most, with_rest=with_rest)]

    return asyncio.run(collect())


def read_until_refused(chunks: Iterable[bytes], most: int) -> list[str]:
    """Return the data of the messages before the one that exceeds the limit."""
    seen: list[str] = []

    async def collect() -> None:
        reader = messages(stream(chunks), most)
        while True:
            seen.append((await anext(reader)).data)

    with pytest.raises(Oversized):
        asyncio.run(collect())
    return seen


def said(*data: str) -> list[Message]:
    """Return messages that have only data."""
    return [Message("message", one, "") for one in data]


def bytewise(text: bytes) -> list[bytes]:
    """Split a stream into chunks of one byte."""
    return [text[at : at + 1] for at in range(len(text))]


# The messages of each stream, however it is split into chunks.
MEANINGS: dict[str, tuple[bytes, list[Message]]] = {
    "example: data over three lines": (b"data: YHOO\ndata: +2\ndata: 10\n\n", said("YHOO\n+2\n10")),
    "example: comment, ids, id reset, one event unfinished": (
        b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event",
        [Message("message", "first event", "1"), Message("message", "second event", "")],
    ),
    "example: data without a colon, the last block unfinished": (b"data\n\ndata\ndata\n\ndata:", said("", "\n")),
    "example: a space after the colon is ignored": (b"data:test\n\ndata: test\n\n", said("test", "test")),
    "example: types": (
        b"event: add\ndata: 73857293\n\nevent: remove\ndata: 2153\n\n",
        [Message("add", "73857293", ""), Message("remove", "2153", "")],
    ),
    "only one space is ignored": (b"data:  a \n\n", said(" a ")),
    "a colon in the data": (b"data: a: b:c\n\n", said("a: b:c")),
    "CR LF": (b"data: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n", said("a\nb", "c")),
    "CR": (b"data: a\rdata: b\r\rdata: c\r\r", said("a\nb", "c")),
    "all line ends mixed": (b"data: a\rdata: b\ndata: c\r\n\ndata: d\n\r\ndata: e\r\n\r", said("a\nb\nc", "d", "e")),
    "a byte order mark": (BOM + b"data: a\n\n", said("a")),
    "a second byte order mark is part of a field's name": (BOM + BOM + b"data: a\n\ndata: b\n\n", said("b")),
    "a byte order mark within": (b"data: a\n\n" + BOM + b"data: b\n\n", said("a")),
    "no data, no event, and its type does not last": (b"event: add\n\ndata: a\n\n", said("a")),
    "a type that is empty": (b"event: add\nevent:\ndata: a\n\n", said("a")),
    "an id lasts, also one without data": (
        b"id: 1\n\ndata: a\n\ndata: b\n\n",
        [Message("message", "a", "1"), Message("message", "b", "1")],
    ),
    "blank lines and comments after an id": (b"id: 1\ndata: a\n\n\n: c\n\n\n", [Message("message", "a", "1")]),
    "an id with NUL is ignored": (
        b"id: 1\ndata: a\n\nid: 2\0\ndata: b\n\n",
        [Message("message", "a", "1"), Message("message", "b", "1")],
    ),
    "NUL in data": (b"data: a\0b\n\n", said("a\0b")),
    "retry and unknown fields": (b"retry: 10\nretry: x\nfoo: bar\n Data: x\nDATA: y\ndata: a\n\n", said("a")),
    "comments within an event": (b": one\ndata: a\n:\n:data: x\ndata: b\n\n", said("a\nb")),
    "an unfinished event": (b"data: a\n\ndata: b\n", said("a")),
    "an unfinished line": (b"data: a\n\ndata: b\n\ndata: c", said("a", "b")),
    "nothing": (b"", []),
    "what Python alone takes for line ends": (
        "data: a\u2028b\u2029c\x0bd\x0ce\x1cf\x1dg\x1eh\x85i\n\n".encode(),
        said("a\u2028b\u2029c\x0bd\x0ce\x1cf\x1dg\x1eh\x85i"),
    ),
    "one to four bytes a character": ("data: aé€😀\n\n".encode(), said("aé€😀")),
    "bytes that are not UTF-8": (
        b"data: a\xffb\ndata: \xe2\x82\nevent: \xf0\x9f\nid: \x80\n\n",
        [Message("\ufffd", "a\ufffdb\n\ufffd", "\ufffd")],
    ),
}
cases = pytest.mark.parametrize(("text", "expected"), MEANINGS.values(), ids=MEANINGS)


@cases
def test_a_stream_is_read_as_the_standard_says(text: bytes, expected: list[Message]) -> None:
    """Each example of the standard gives the expected messages."""
    assert read([text]) == expected


@cases
def test_a_stream_split_at_any_byte_reads_the_same(text: bytes, expected: list[Message]) -> None:
    """A split may fall between CR and LF, within a character or within the byte order mark.

    An empty chunk changes nothing.
    """
    for at in range(len(text) + 1):
        assert read([text[:at], b"", text[at:]]) == expected, at


@cases
def test_a_stream_in_single_bytes_reads_the_same(text: bytes, expected: list[Message]) -> None:
    """A stream that arrives byte by byte gives the same messages."""
    assert read(bytewise(text)) == expected


@cases
def test_the_rest_of_a_stream_is_read_as_if_a_blank_line_followed(text: bytes, expected: list[Message]) -> None:
    """Some servers leave the last blank line out, or the last line end. Nothing else is read differently."""
    for chunks in ([text], bytewise(text)):
        found = read(chunks, with_rest=True)
        assert found == read([text + b"\n\n"])
        assert found[: len(expected)] == expected


def test_the_rest_of_a_stream_may_be_nothing() -> None:
    """Neither an empty stream, nor a comment, nor a byte order mark is an event. The limit holds for the rest, too."""
    assert read([b""], with_rest=True) == read([BOM], with_rest=True) == read([b": c"], with_rest=True) == []
    assert read([BOM + b"data: a"], with_rest=True) == said("a")
    assert read([b"data: 89012345678901"], most=20, with_rest=True) == said("89012345678901")


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n", b"\r\n\r"])
def test_an_event_is_returned_at_its_blank_line(end: bytes) -> None:
    """The reader does not wait for the next byte, even after a CR."""

    async def first() -> Message:
        reader = messages(silent_after(b"data: a" + end), AMPLE)
        return await asyncio.wait_for(anext(reader), timeout=5)

    assert [asyncio.run(first())] == said("a")


async def silent_after(chunk: bytes) -> AsyncIterator[bytes]:
    """Yield one chunk and then nothing, as a connection that stays open."""
    yield chunk
    await asyncio.Event().wait()


one_line = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r\n"))
kinds = one_line.filter(bool)
ids = st.none() | one_line.filter(lambda text: "\0" not in text)
sent = st.lists(st.tuples(kinds, one_line, ids))


def escaped(data: str) -> str:
    """Return data as JSON text may have it, without what only some readers take for line ends."""
    return re.sub("[\x85\u2028\u2029]", lambda found: f"\\u{ord(found[0]):04x}", data)


@given(sent, st.lists(st.integers(0, 400)), st.booleans())
def test_a_frame_is_read_as_it_was_sent(events: list[tuple[str, str, str | None]], cuts: list[int], calm: bool) -> None:
    """Any events in any chunks read back, with or without heartbeats.

    An event without an id has the id of the one before.
    """
    pulse = b"" if calm else HEARTBEAT
    text = pulse + b"".join(frame(kind, data.encode(), event_id) + pulse for kind, data, event_id in events)
    expected, last = [], ""
    for kind, data, event_id in events:
        last = last if event_id is None else event_id
        expected.append(Message(kind, escaped(data), last))
    edges = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    assert read(text[a:b] for a, b in pairwise(edges)) == expected


@given(st.text(st.characters(exclude_categories=["Cs"])), kinds)
def test_a_frame_has_the_same_lines_for_readers_that_cut_as_python_does(text: str, kind: str) -> None:
    """Httpx's `iter_lines` cuts at U+0085, U+2028 and U+2029, too. The data say the same as before."""
    if kind.splitlines() == [kind]:
        lines = frame(kind, orjson.dumps({"delta": text})).decode().splitlines()
        assert [line.partition(": ")[0] for line in lines] == ["event", "data", ""]
        assert orjson.loads(lines[1].removeprefix("data: ")) == {"delta": text}


def test_a_frame_on_the_wire() -> None:
    """A frame has the id if there is one, then the type, the data and a blank line."""
    assert frame("response.created", b"{}", "t1") == b"id: t1\nevent: response.created\ndata: {}\n\n"
    assert frame("response.created", b"{}") == b"event: response.created\ndata: {}\n\n"


@pytest.mark.parametrize("end", ["\n", "\r", "\r\n"])
def test_no_field_can_forge_another(end: str) -> None:
    """A type, id or data with a line end is refused, because event types come from the upstream's server."""
    forged = f"a{end}data: b"
    for kind, data, event_id in ((forged, "{}", None), ("a", forged, None), ("a", "{}", forged)):
        with pytest.raises(ValueError, match="one line"):
            frame(kind, data.encode(), event_id)


def test_a_heartbeat_is_one_comment_line_without_a_blank_one() -> None:
    """A blank line after a heartbeat breaks openai-python on streams that have ids (reference: SSE framing)."""
    assert HEARTBEAT.startswith(b":")
    assert HEARTBEAT.count(b"\n") == 1
    assert HEARTBEAT.endswith(b"\n")
    assert b"\r" not in HEARTBEAT


def test_heartbeats_are_not_events_and_have_no_size() -> None:
    """Any number of heartbeats, before or within an event, does not count towards the limit."""
    silence = [HEARTBEAT] * 100
    assert read([*silence, b"data: a\n", *silence, b"data: b\n\n", *silence], most=20) == said("a\nb")


# Streams of one event whose lines have 20 bytes without their line ends.
EXACT = {
    "one line": b"data: 89012345678901",
    "two lines": b"data: 0123\ndata: 4567",
    "type and data": b"event: a\rdata: 012345",
    "id and data": b"id: 1234\r\ndata: 012345",
    "a field nobody knows": b"other: 123\ndata: 4567",
    "a comment apart": b": passes by\ndata: 89012345678901",
}
exact = pytest.mark.parametrize("text", EXACT.values(), ids=EXACT)


@exact
def test_the_limit_is_exact_however_the_event_is_split(text: bytes) -> None:
    """An event of 20 bytes is read with a limit of 20. With a limit of 19 only the event before it is read."""
    whole = b"data: before\n\n" + text + b"\n\ndata: after\n\n"
    for chunks in ([whole], bytewise(whole), *([whole[:at], whole[at:]] for at in range(len(whole)))):
        assert len(read(chunks, most=20)) == 3
        assert read_until_refused(chunks, most=19) == ["before"]


@exact
def test_an_event_without_end_is_refused_before_it_is_finished(text: bytes) -> None:
    """The line that has begun counts, so an event can exceed the limit before it ends."""
    assert read(bytewise(text), most=20) == []
    assert read_until_refused(bytewise(text), most=19) == []


def test_a_comment_without_end_is_refused() -> None:
    """Nothing is buffered without a limit, not even data that would be ignored."""
    assert read_until_refused([b":", *[b"x" * 100] * 10], most=1_000) == []
    assert read_until_refused([b":" + b"x" * 1_000 + b"\n"], most=1_000) == []


def test_reading_stops_at_the_limit() -> None:
    """An endless line is refused after the chunk that exceeds the limit."""
    taken: list[int] = []

    def endless() -> Iterable[bytes]:
        while True:
            taken.append(1)
            yield b"x" * 100

    assert read_until_refused(endless(), most=1_000) == []
    assert len(taken) == 11


def spent_s(piece: bytes, count: int) -> float:
    """Read one event of many pieces that arrives in chunks of 64 bytes. Return the processor time that this took."""
    text = b"data: x" + piece * count + b"\n\n"
    chunks = [text[at : at + 64] for at in range(0, len(text), 64)]
    begin_s = time.process_time()
    (message,) = read(chunks, most=len(text))
    spent_s = time.process_time() - begin_s
    assert len(message.data) == 1 + len(piece.replace(b"data", b"").replace(b": ", b"")) * count
    return spent_s


@pytest.mark.parametrize("piece", [b"x", b"\ndata: x", b"\ndata"], ids=["one line", "many lines", "empty lines"])
def test_reading_takes_linear_time(piece: bytes) -> None:
    """Two megabytes take about four times as long as half a megabyte, and not sixteen times.

    Copying the buffer for each chunk would move 32 GB instead of 2 GB. A busy machine may spoil one comparison, so
    there are up to three.
    """
    count = 2_000_000 // len(piece)
    assert any(spent_s(piece, count) < 8 * spent_s(piece, count // 4) for _ in range(3))
