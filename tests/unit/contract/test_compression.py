"""Compressed request bodies."""

import gzip
import random
from collections.abc import Callable

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.compression import check_encoding, unpacked
from shared.core.errors import BadRequest, TooLarge, UnsupportedMediaType

MIB = 1_048_576
SPELLINGS = {
    None: "identity",
    "": "identity",
    "Identity": "identity",
    " GZIP ": "gzip",
    "x-gzip": "gzip",
    "zstd": "zstd",
}
PACK: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "zstd": zstandard.ZstdCompressor().compress,
    "identity": bytes,
}


@given(st.binary(max_size=200_000), st.sampled_from([*PACK]))
def test_a_body_is_unpacked_as_its_header_says(text: bytes, encoding: str) -> None:
    """Both encodings, and the body as it is."""
    assert unpacked(PACK[encoding](text), encoding, MIB) == text


def test_a_zstd_stream_of_unknown_length_is_read() -> None:
    """Codex does not say in the frame how long its content is."""
    text = random.Random(1).randbytes(MIB // 2)
    packer = zstandard.ZstdCompressor(write_content_size=False).compressobj()
    assert unpacked(packer.compress(text) + packer.flush(), "zstd", MIB) == text


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
def test_the_limit_is_for_the_unpacked_body(encoding: str) -> None:
    """It is exact, and a bomb is not unpacked."""
    assert len(unpacked(PACK[encoding](bytes(MIB)), encoding, MIB)) == MIB
    for size in (MIB + 1, 256 * MIB):
        with pytest.raises(TooLarge, match="decompressed"):
            unpacked(PACK[encoding](bytes(size)), encoding, MIB)


@pytest.mark.parametrize("encoding", ["gzip", "zstd"])
@pytest.mark.parametrize(
    "body", [b"{}", b"", gzip.compress(bytes(1_000), mtime=0)[:-9], b"\x28\xb5\x2f\xfd\x00\xff\xff\xff\xff\xff"]
)
def test_a_damaged_body_is_the_callers_fault(encoding: str, body: bytes) -> None:
    """A 400 names the header. An empty zstd body is an empty body, which is no JSON."""
    if (encoding, body) == ("zstd", b""):
        assert unpacked(body, encoding, MIB) == b""
        return
    with pytest.raises(BadRequest) as refused:
        unpacked(body, encoding, MIB)
    assert refused.value.param == "Content-Encoding"


def test_a_window_that_takes_too_much_memory_is_refused() -> None:
    """A frame may ask its decoder for gigabytes."""
    parameters = zstandard.ZstdCompressionParameters(window_log=27, write_content_size=False)
    packer = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    with pytest.raises(BadRequest):
        unpacked(packer.compress(bytes(MIB)) + packer.flush(), "zstd", 2 * MIB)


@pytest.mark.parametrize(("header", "expected"), [*SPELLINGS.items()])
def test_an_encoding_is_read_in_any_case(header: str | None, expected: str) -> None:
    """Content codings ignore case."""
    assert check_encoding(header) == expected


@pytest.mark.parametrize("header", ["br", "deflate", "gzip, gzip", "gzip, zstd", "aws-chunked"])
def test_other_encodings_are_refused(header: str) -> None:
    """A 415 says which ones are read."""
    with pytest.raises(UnsupportedMediaType, match="gzip or zstd"):
        check_encoding(header)
