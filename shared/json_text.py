"""JSON as others write it. Pure: text in, values out.

The strict reading is orjson's: https://www.rfc-editor.org/rfc/rfc8259. It is tried first, and almost always enough.
Two things are added to it.

* A number without a 64-bit form keeps its digits. orjson would round 2^64 to a float. Such a number is a Fragment,
  which orjson writes as it stands, so it reaches the other side unchanged.
* The tolerant reading accepts what other readers accept: half of a surrogate pair, NaN and Infinity, control characters
  in a text, bytes that are not UTF-8, a byte order mark, UTF-16 with one. It is for answers that are lost if they are
  not read. What JSON has no word for becomes U+FFFD or null.

A text of 8 MiB can hold 4 million lists. They take seconds to build and to walk, and meanwhile the process serves
nobody. So what others send is counted in its bytes before it is read (`excess`).
"""

import codecs
import json
import math
import re
from dataclasses import dataclass
from typing import Any

import orjson
from orjson import Fragment

InvalidJson = json.JSONDecodeError
"""The text is no JSON. `msg` says why, without a part of the text."""

_MIN, _MAX = -(2**63), 2**64 - 1  # what orjson reads and writes as an integer
_LONG = b"0" * 19  # the fewest digits of an integer outside of this range
_AS_ZEROS = bytes(48 if 48 <= byte <= 57 else 32 for byte in range(256))
# An escaped pair, an escaped half of one, or any other escape, so that an escaped backslash does not begin one.
_ESCAPE = re.compile(r"\\u[dD][89abAB]..\\u[dD][c-fC-F]..|(\\u[dD][89a-fA-F]..)|\\.", re.DOTALL)
_HALF = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a text of others may hold."""

    containers: int  # objects and lists
    commas: int = 1_000_000


OF_REQUESTS = Limits(100_000)
OF_ANSWERS = Limits(500_000)  # 11,000 tokens with 20 `top_logprobs` each, which are 43 containers


def excess(text: bytes | str, limits: Limits) -> str | None:
    """Return the limit that a JSON text exceeds, such as `100000 objects and lists`, or None.

    Brackets and commas are counted as they stand, those inside of texts included. That takes a few milliseconds for
    8 MiB.
    """
    if _count(text, "[{") > limits.containers:
        return f"{limits.containers} objects and lists"
    return f"{limits.commas} commas" if _count(text, ",") > limits.commas else None


def openings(text: bytes | str) -> int:
    """Return how many objects and lists a JSON text can have, and so how deeply it can be nested."""
    return _count(text, "[{")


def _count(text: bytes | str, characters: str) -> int:
    if isinstance(text, str):
        return sum(map(text.count, characters))
    return sum(map(text.count, characters.encode()))


def read(text: bytes | str) -> Any:
    """Return the value of a JSON text. Raises InvalidJson if the text is not strictly JSON."""
    value = orjson.loads(text)
    return _decode(_characters(text)) if _has_long_number(text) else value


def read_tolerantly(text: bytes | str) -> Any:
    """Return the value of a text that any common reader takes for JSON. Raises InvalidJson if none does."""
    try:
        return read(text)
    except InvalidJson:
        return _decode(_repaired(_characters(text)))


def _characters(text: bytes | str) -> str:
    if isinstance(text, str):
        return text
    return text.decode("utf-16" if text.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) else "utf-8", "replace")


def _has_long_number(text: bytes | str) -> bool:
    """Return whether there may be an integer without a 64-bit form. This is much faster than a pattern."""
    raw = text.encode() if isinstance(text, str) else text
    return _LONG in raw.translate(_AS_ZEROS)


def _repaired(text: str) -> str:
    """Return the text without a byte order mark, and with U+FFFD for every half of a surrogate pair."""
    whole = _HALF.sub("\ufffd", text.removeprefix("\ufeff"))
    return _ESCAPE.sub(lambda found: r"\ufffd" if found[1] else found[0], whole)


def _decode(text: str) -> Any:
    try:
        return json.loads(text, strict=False, parse_int=_integer, parse_float=_float, parse_constant=_nothing)
    except RecursionError:
        raise InvalidJson("nested too deeply", "", 0) from None


def _integer(digits: str) -> int | Fragment:
    if len(digits) > 20:  # Python refuses to convert thousands of digits
        return Fragment(digits.encode())
    value = int(digits)
    return value if _MIN <= value <= _MAX else Fragment(digits.encode())


def _float(digits: str) -> float | Fragment:
    value = float(digits)
    return value if math.isfinite(value) else Fragment(digits.encode())


def _nothing(_: str) -> None:
    """Stand for NaN, Infinity and -Infinity."""
