"""What a GET asks an upstream to include."""

import pytest

from shared.core.errors import UpstreamRefused
from shared.upstreams.includes import Includes, is_about, query

SOURCES = ("web_search_call.action.sources", "file_search_call.results")


def test_a_query_has_its_list_in_brackets() -> None:
    """As OpenAI's SDKs write it, with every other character escaped."""
    assert query() == ""
    assert query({"stream": "true", "starting_after": "3"}) == "?stream=true&starting_after=3"
    assert query(include=["a.b", "c&d"]) == "?include%5B%5D=a.b&include%5B%5D=c%26d"


def test_what_was_rejected_is_not_asked_for_again() -> None:
    """Only that list: another caller's is tried."""
    includes = Includes()
    assert includes.accepted(list(SOURCES)) == SOURCES
    includes.refuse(SOURCES)
    assert includes.accepted(SOURCES) == ()
    assert includes.accepted(SOURCES[:1]) == SOURCES[:1]


def test_the_memory_of_rejections_is_bounded() -> None:
    """Callers may ask for anything. After 100 rejections the memory starts over."""
    includes = Includes()
    for n in range(101):
        includes.refuse((f"x{n}",))
    assert includes.accepted(("x0",)) == ("x0",)
    assert includes.accepted(("x100",)) == ()


@pytest.mark.parametrize(
    ("include", "status", "expected"), [(SOURCES, 400, True), ((), 400, False), (SOURCES, 404, False)]
)
def test_only_a_400_may_be_about_it(include: tuple[str, ...], status: int, expected: bool) -> None:
    """Other refusals are about the response."""
    assert is_about(include, UpstreamRefused(status, "no")) is expected
