"""Redacted exceptions: their types and places in the code. Their texts may contain a prompt, a key or a URL."""

import traceback
from collections.abc import Iterator
from typing import Any

NAME_MAX = 80  # characters


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an exception, its cause or context, the cause of that, and so on. Each exception is yielded once."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def type_name(error: BaseException) -> str:
    """Return the name of an exception's type, at most 80 characters."""
    return type(error).__name__[:NAME_MAX]


def redacted(error: BaseException) -> dict[str, Any]:
    """Return what may be logged of an exception and its chain.

    `errors` has the names of the types, and `places` the stack traces as text.
    """
    links = list(chain(error))
    places = [place for one in links for place in traceback.format_tb(one.__traceback__)]
    return {"errors": [type_name(one) for one in links], "places": "".join(places)}
