"""docs/clients.md says what the tests of the clients expect."""

from tests.clients.table.clients import CLIENTS
from tests.clients.table.page import PAGE, written


def test_the_tables_of_the_page_are_current() -> None:
    """`python -m tests.clients.table` writes them."""
    text = PAGE.read_text(encoding="utf-8")
    assert written(text, CLIENTS) == text
