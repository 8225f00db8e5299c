"""What a GET asks an upstream to include: as a query, and without it once the upstream has rejected it.

An upstream adds some content, such as the sources of a web search, only to an answer whose own request asks for it. The
`include` of the create does not count for later GETs: https://github.com/openai/openai-node/issues/1676
"""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from urllib.parse import urlencode

from shared.core.errors import UpstreamRefused

_REMEMBERED = 100


class Includes:
    """What callers asked to include and one upstream has rejected, so that not every poll is sent twice."""

    def __init__(self) -> None:
        self._refused: set[tuple[str, ...]] = set()

    def accepted(self, include: Sequence[str]) -> tuple[str, ...]:
        """Return what to ask for: everything, or nothing if the upstream has rejected it before."""
        return () if tuple(include) in self._refused else tuple(include)

    def refuse(self, include: tuple[str, ...]) -> None:
        """Remember that the upstream answers without this, and rejects it."""
        if len(self._refused) >= _REMEMBERED:
            self._refused.clear()
        self._refused.add(include)


def query(parameters: Mapping[str, str] | None = None, include: Sequence[str] = ()) -> str:
    """Return a query, in which a list is written as OpenAI's SDKs write it."""
    pairs = [*(parameters or {}).items(), *(("include[]", one) for one in include)]
    return f"?{urlencode(pairs)}" if pairs else ""


def is_about(include: Sequence[str], refusal: UpstreamRefused) -> bool:
    """Return whether a refusal may be about what was to be included."""
    return bool(include) and refusal.status == HTTPStatus.BAD_REQUEST
