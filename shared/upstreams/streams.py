"""Reads the stream of an upstream as events, whatever its server says that it sends.

The bytes decide, and not the Content-Type: servers send streams as text/plain or as JSON, and JSON as a stream.
"""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import httpx

from shared import off_loop
from shared.contract import sse, upstream_errors, upstream_events
from shared.contract.sse import Message
from shared.core.errors import UpstreamBroken, UpstreamInvalid, UpstreamOversized
from shared.upstreams import answers, decoding
from shared.upstreams.protocol import UpstreamEvent

MAX_STREAM = 268_435_456  # bytes
MAX_MESSAGES = 1_000_000  # as many as a response may have events: heartbeats and events without a type count, too
MAX_LINES = 10_000_000  # with comments and blank lines
_TURN = 256  # messages after which other work of the process has its turn
MAX_NUMBER = 10**10
_DONE = "[DONE]"
_FIELDS = (b":", b"data:", b"event:", b"id:", b"retry:")
_ENOUGH = max(map(len, _FIELDS))  # bytes
_BLANK = b"\xef\xbb\xbf \t\r\n"
_HEARTBEATS = frozenset({"", "null", "ping", "pong", "keepalive", "keep-alive", "heartbeat"})
_UNNAMED = "message"  # the type of a message whose frame has no name


async def events_in(
    response: httpx.Response, *, most_messages: int = MAX_MESSAGES, most_lines: int = MAX_LINES
) -> AsyncGenerator[UpstreamEvent, None]:
    """Yield the events of an answer with a success status: those of its stream, or one for a whole JSON answer.

    Raises UpstreamBroken if something else than an event is in the stream, and UpstreamOversized if the stream is over
    256 MiB, 1,000,000 messages or 10,000,000 lines, or an event of it too large or nested too deeply. For a whole
    answer it raises as `answers.whole_event`.
    The caller must close the answer.
    """
    async with aclosing(decoding.decoded(response, MAX_STREAM)) as chunks:
        begun, is_stream = await _beginning(chunks, is_stream=is_stream_by_type(response))
        rest = _chained(begun, chunks)
        if not is_stream:
            content = await answers.gathered(rest)
            yield await off_loop.run(len(content), answers.whole_event, content)
            return
        async with aclosing(_messages(rest, most_lines)) as messages:
            count = 0
            async for message in messages:
                count += 1
                if not count % _TURN:
                    await _give_way(count, most_messages)
                if not message.data.startswith("{"):  # an object is no word
                    if message.data.strip() == _DONE:
                        return
                    if _is_heartbeat(message):
                        continue
                yield await off_loop.run(len(message.data), parse_event, message.data, message.kind)


async def _give_way(count: int, most: int) -> None:
    """Let others have their turn after so many messages. A reader may wait for nothing in between."""
    if count > most:
        raise UpstreamOversized(f"The upstream's stream has more than {most} messages.")
    await asyncio.sleep(0)


async def _messages(chunks: AsyncIterator[bytes], most_lines: int) -> AsyncGenerator[Message, None]:
    try:
        async with aclosing(
            sse.messages(chunks, answers.MAX_ANSWER, most_lines=most_lines, with_rest=True)
        ) as messages:
            async for message in messages:
                yield message
    except sse.Oversized:
        raise UpstreamOversized from None
    except sse.TooManyLines:
        raise UpstreamOversized(f"The upstream's stream has more than {most_lines} lines.") from None


def _is_heartbeat(message: Message) -> bool:
    return message.kind != "error" and message.data.strip().lower() in _HEARTBEATS


def parse_event(text: str, name: str = _UNNAMED) -> UpstreamEvent:
    """Return the event in the data of a server-sent event with this name.

    An id of a response that cannot be asked for is left out. Raises UpstreamBroken if it is not a JSON object and no
    error, and UpstreamOversized if it is nested too deeply.
    """
    try:
        data = answers.parse_object(text)
    except UpstreamInvalid:
        data = _error_outside_object(text, name)
    if isinstance(answer := data.get("response"), dict):
        data["response"] = answers.with_usable_id(answer)
    number = data.get("sequence_number")
    is_number = isinstance(number, int) and not isinstance(number, bool) and 0 <= number < MAX_NUMBER
    return UpstreamEvent(number if is_number else None, upstream_events.named(data, "" if name == _UNNAMED else name))


def _error_outside_object(text: str, name: str) -> dict[str, Any]:
    """Return the error in a frame named `error` whose data are no object, such as a line of text."""
    if name != "error":
        raise UpstreamBroken("an event is not a JSON object")
    reported = upstream_errors.error_in_answer(text.encode(errors="replace"))
    return {"type": "error", "message": reported.message if reported else ""}


# How an answer begins


def is_stream_by_type(response: httpx.Response) -> bool:
    """Return whether the content type of an answer is `text/event-stream`."""
    kind: str = response.headers.get("content-type", "")
    return kind.partition(";")[0].strip().lower() == "text/event-stream"


async def _beginning(chunks: AsyncIterator[bytes], *, is_stream: bool) -> tuple[bytes, bool]:
    """Return the first bytes that show whether an answer is a stream, and whether it is one.

    `is_stream` is what the content type says. It counts where the bytes say nothing.
    """
    begun = b""
    async for chunk in chunks:
        begun = (begun + chunk).lstrip(_BLANK)
        shown = is_stream_by_content(begun)
        if shown is not None or len(begun) >= _ENOUGH:
            return begun, is_stream if shown is None else shown
    return begun, is_stream


def is_stream_by_content(begun: bytes) -> bool | None:
    """Return whether the first bytes of an answer, after blanks, are those of a stream. None means that it is open.

    An object or a list of JSON is none, and a field or a comment is one.
    """
    if begun.startswith((b"{", b"[")):
        return False
    return True if begun.startswith(_FIELDS) else None


async def _chained(begun: bytes, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    yield begun
    async for chunk in chunks:
        yield chunk
