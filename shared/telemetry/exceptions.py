"""An exception without its text, in which a prompt, a key or a URL could be: its types, and the places in the code."""

import traceback
from collections.abc import Iterator
from typing import Any

NAME_MAX = 80  # characters


def chain(error: BaseException | None) -> Iterator[BaseException]:
    """Give an exception, what caused it, what caused that."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__


def name(error: BaseException) -> str:
    """Return the name of its type."""
    return type(error).__name__[:NAME_MAX]


def logged(error: BaseException) -> dict[str, Any]:
    """Return what the log says of it: the types and the places in the code, none of the values."""
    links = list(chain(error))
    places = [place for one in links for place in traceback.format_tb(one.__traceback__)]
    return {"errors": [name(one) for one in links], "places": "".join(places)}
