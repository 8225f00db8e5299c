"""Packed requests: those over the limit are refused by name, and objects over it are left out."""

import os

import pytest

from shared.core import blobs
from shared.core.errors import TooLarge
from shared.starts.packing import packed, packed_or_nothing, too_large

HUGE = {"input": os.urandom(blobs.MAX_PACKED).hex()}


def test_what_fits_is_packed() -> None:
    """It can be read again."""
    assert blobs.unpack(packed({"a": 1})) == {"a": 1}
    assert packed_or_nothing({"a": 1}) == packed({"a": 1})


def test_what_does_not_fit_is_refused() -> None:
    """The error names the limit. An object that is not final is left out instead."""
    with pytest.raises(TooLarge, match=str(blobs.MAX_PACKED)) as refused:
        packed(HUGE)
    assert refused.value.code == too_large("It is").code == "request_too_large"
    assert packed_or_nothing(HUGE) == b""
