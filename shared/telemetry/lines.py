"""The text of a log line: one JSON object in ASCII, at most 16 KiB long."""

import json
from collections.abc import Mapping
from typing import Any

import orjson

MAX_LINE = 16 * 1024  # bytes, with the newline
_KEPT = 64  # characters of a field that is not cut any further


def encode_line(fields: Mapping[str, Any]) -> str:
    """Return these fields as a line, which ends with a newline.

    A value that JSON cannot express is written as its `str`, or as the name of its type if it has none. The longest
    fields are cut until the line has at most 16 KiB, and `cut` names them. Their values are then texts. If the names
    alone are too long, only the first field is left.
    """
    try:
        text = _json(fields)
    except TypeError:
        fields = {_safe(str(name)): _safe(value) for name, value in fields.items()}
        text = _json(fields)
    return (text if len(text) < MAX_LINE else _cut(fields)) + "\n"


def _json(value: Any) -> str:
    """Return JSON in ASCII, so that every encoding of the output can carry it. Raise TypeError if that is impossible.

    Its length is also its length in bytes.
    """
    text = orjson.dumps(value, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
    return text if text.isascii() else json.dumps(orjson.loads(text), separators=(",", ":"))


def _safe(value: Any) -> Any:
    if isinstance(value, str):
        return value.encode("utf-8", "backslashreplace").decode()  # half a surrogate pair is no Unicode
    try:
        _json(value)
    except TypeError:
        return f"<{type(value).__name__}>"
    return value


def _cut(fields: Mapping[str, Any]) -> str:
    """Halve the longest field until the line fits. The middle goes, because a stack trace tells most at its ends."""
    short, names = dict(fields), list[str]()
    while len(text := _json({**short, "cut": names})) >= MAX_LINE:
        longest = max(short, key=lambda name: len(_json(short[name])))
        value = short[longest]
        shown = value if isinstance(value, str) else _json(value)
        if len(shown) <= _KEPT:
            return _first(fields)
        kept = min(len(shown), MAX_LINE) // 4
        short[longest] = f"{shown[:kept]} ... {shown[-kept:]}"
        names = names if longest in names else [*names, longest]
    return text


def _first(fields: Mapping[str, Any]) -> str:
    name, value = next(iter(fields.items()))
    return _json({name[:_KEPT]: str(value)[:_KEPT], "cut": ["*"]})
