"""The upstream's ids of responses in what it says, and ours in their place. Pure.

An upstream repeats its id of a response in members of its own, at any depth. Callers know only our ids. A long id is
replaced wherever it stands. A short one may stand anywhere by chance, so it is replaced only where a member is an id.
"""

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, TypeGuard

import orjson

from shared.contract.redaction import CONTENT
from shared.core.records import Record

UNMISTAKABLE = 16  # characters
# Characters of an id of an upstream. LiteLLM seals what it knows about a response into its id, which then has over 500.
MAX_ID = 1024
_ID = re.compile(r"(?:.*_)?ids?|.*[a-z]I[dD]s?")


def our_names(record: Record, answer: Mapping[str, Any]) -> dict[str, str]:
    """Return our ids by those of the upstream, as far as the record and the upstream's response object name them."""
    theirs = (record.upstream.id, record.upstream.token, answer.get("id"))
    names = {name: record.id for name in theirs if _is_name(name)}
    previous = answer.get("previous_response_id")
    if record.request.previous_id and _is_name(previous):
        names[previous] = record.request.previous_id
    return {theirs: ours for theirs, ours in names.items() if theirs != ours}


def _is_name(said: object) -> TypeGuard[str]:
    """Return whether a value is an id. A longer text is none, and would be kept in the cache below."""
    return isinstance(said, str) and 0 < len(said) <= MAX_ID


def are_in(text: bytes, names: Mapping[str, str]) -> bool:
    """Return whether the upstream's ids may stand in a JSON text. If not, there is no need to look at each member."""
    return any(_as_written(theirs) in text for theirs in names)


@lru_cache(1_024)
def _as_written(name: str) -> bytes:
    """Return a text as it stands in JSON, without the quotes."""
    return orjson.dumps(name)[1:-1]


def with_our_names(value: Any, names: Mapping[str, str], member: str = "") -> Any:
    """Return a copy of a JSON value with our ids in place of the upstream's. `member` is the name of its member."""
    if not names:
        return value
    if isinstance(value, str):
        return _renamed(value, names, member)
    if isinstance(value, list):
        return [with_our_names(one, names, member) for one in value]
    if isinstance(value, dict):
        return {_renamed(name, names, ""): with_our_names(one, names, name) for name, one in value.items()}
    return value


def _renamed(text: str, names: Mapping[str, str], member: str) -> str:
    if text in names and (len(text) >= UNMISTAKABLE or _ID.fullmatch(member)):
        return names[text]
    if member in CONTENT:
        return text
    for theirs, ours in names.items():
        if len(theirs) >= UNMISTAKABLE and theirs in text:
            text = text.replace(theirs, ours)
    return text
