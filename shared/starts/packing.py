"""Packed requests and objects, and the error for those that are too large to be kept."""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from shared.core import blobs
from shared.core.errors import TooLarge


def packed(request: Mapping[str, Any]) -> bytes:
    """Return a packed request. Raise TooLarge if it is over 2.5 MiB."""
    try:
        return blobs.pack(request)
    except blobs.Oversized:
        raise too_large("The request is") from None


def too_large(what: str) -> TooLarge:
    """Return the error for something that is over the limit. `what` begins its sentence."""
    return TooLarge(f"{what} over {blobs.MAX_PACKED} bytes when compressed.", code="request_too_large")


def packed_or_nothing(shown: Mapping[str, Any]) -> bytes:
    """Return the packed object, or empty bytes if it is too large to be kept before it is final."""
    with suppress(blobs.Oversized):
        return blobs.pack(shown)
    return b""
