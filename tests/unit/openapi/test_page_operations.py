"""What a browser asks for the page."""

from functions import console
from shared.openapi.page_operations import FILES, PAGE
from tests.support.described_api import operation_named


def test_every_route_of_the_page_can_be_switched_off() -> None:
    """Without the setting CONSOLE, each answers as a path that does not exist."""
    assert {one.name for one in PAGE} == {name for name, *_ in console.ROUTES}
    for one in PAGE:
        assert "console_off" in str(one.shown()["responses"]["404"])


def test_the_files_need_no_key() -> None:
    """The key is typed into the page, and only its calls have it."""
    assert {one.name for one in PAGE if "401" in one.shown()["responses"]} == {"console_caller"}


def test_every_kind_of_file_is_documented() -> None:
    """A browser executes a file only as what its media type says."""
    assert {*operation_named("console_file")["responses"]["200"]["content"]} == {*FILES}
    assert {kind.partition(";")[0] for kind in console.TYPES.values()} == {*FILES}
