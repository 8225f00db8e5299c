"""Compressed request bodies: gzip and zstd, unpacked within a limit. Pure.

Codex sends zstd, and other clients gzip. https://www.rfc-editor.org/rfc/rfc9110#name-content-encoding
"""

import zlib

from shared.core.errors import BadRequest, TooLarge, UnsupportedMediaType

_GZIP = 31  # the window bits that mean gzip to zlib
_PIECE = 65_536  # bytes
_ZSTD_WINDOW = 8_388_608  # bytes, which every decoder supports: https://www.rfc-editor.org/rfc/rfc9659


def check_encoding(header: str | None) -> str:
    """Return the encoding that a Content-Encoding header names: `identity`, `gzip` or `zstd`.

    Raises UnsupportedMediaType for any other, and for more than one.
    """
    encoding = (header or "identity").strip().lower()
    if encoding == "x-gzip":
        return "gzip"
    if encoding not in ("identity", "gzip", "zstd"):
        message = "The body may be compressed with gzip or zstd, once."
        raise UnsupportedMediaType(message, param="Content-Encoding")
    return encoding


def unpacked(body: bytes, encoding: str, most: int) -> bytes:
    """Return a body without its compression. `encoding` is as `check_encoding` returns it.

    Raises TooLarge if that is over `most` bytes, of which no more are unpacked, and BadRequest if it is damaged.
    """
    if encoding == "identity":
        return body
    text = _gunzipped(body, most) if encoding == "gzip" else _unzstd(body, most)
    if len(text) > most:
        raise TooLarge(f"The request body is over {most} bytes, decompressed.", code="request_too_large")
    return text


def _gunzipped(body: bytes, most: int) -> bytes:
    """Return the text, or its first `most` + 1 bytes if it is longer."""
    stream = zlib.decompressobj(_GZIP)
    try:
        text = stream.decompress(body, most + 1)
    except zlib.error:
        raise _damaged() from None
    if len(text) <= most and not stream.eof:
        raise _damaged()
    return text


def _unzstd(body: bytes, most: int) -> bytes:
    """Return the text, or a little more than its first `most` bytes if it is longer."""
    import zstandard  # noqa: PLC0415 - only few requests need it

    unpacker = zstandard.ZstdDecompressor(max_window_size=_ZSTD_WINDOW)
    text, size = [], 0
    try:
        with unpacker.stream_reader(body) as reader:
            while size <= most and (piece := reader.read(_PIECE)):
                text.append(piece)
                size += len(piece)
    except zstandard.ZstdError:
        raise _damaged() from None
    return b"".join(text)


def _damaged() -> BadRequest:
    return BadRequest("The body is not what its Content-Encoding says.", param="Content-Encoding", code="invalid_value")
