"""The pages are in plain English: one idea a sentence."""

from pathlib import Path

import pytest

from local.stack.process import ROOT
from tests.support.prose import PAGES, Sentence, lines, sentences
from tests.support.stage import Say

P95_WORDS = 25
MOST_WORDS = 40
LONGEST_LINE = 130
SHOWN = 5


@pytest.fixture(scope="module")
def longest() -> list[Sentence]:
    """Return all sentences, the longest first."""
    every = [one for page in PAGES for one in sentences(page)]
    return sorted(every, key=lambda one: one.words, reverse=True)


def test_nineteen_of_twenty_sentences_have_at_most_25_words(longest: list[Sentence], say: Say) -> None:
    """The run prints the longest ones, which are the next to be shortened."""
    for one in longest[:SHOWN]:
        say(f"{one.words} words in {one.page}: {one.text[:80]}")
    assert longest[len(longest) // 20].words <= P95_WORDS


def test_no_sentence_is_very_long(longest: list[Sentence]) -> None:
    """None has more than 40 words."""
    assert [one for one in longest if one.words > MOST_WORDS] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_page_keeps_to_it(page: Path) -> None:
    """Nine of ten sentences of each page have at most 25 words, so no page hides behind the others."""
    words = sorted((one.words for one in sentences(page)), reverse=True)
    assert words[len(words) // 10] <= P95_WORDS


def test_no_line_of_prose_is_too_long_to_edit() -> None:
    """A line has at most 130 characters. Rows of tables, programs, and what has no space to break at may have more."""
    pages = [*PAGES, ROOT / "CHANGELOG.md"]
    found = {f"{page.name}: {line[:60]}" for page in pages for line in lines(page) if len(line) > LONGEST_LINE}
    assert found == set()


@pytest.mark.parametrize(
    ("text", "counted"),
    [
        ("One two three four. Five six seven eight nine.", [4, 5]),
        ("See [the page of the docs](docs/a-b-c.md) now. `code` is one single word.", [7, 5]),
        ("- an item of four\n- another item of this list\n  goes on here", [4, 8]),
        ("| a | one two three four five |\n|---|---|\n| b | two words |", [5]),
        ("# A heading of five words\n\n```sh\nsome code of five words\n```\n\nOne two three, four.", [4]),
        ("It waits: the queue is full now.", [7]),
        ("**Accepted means kept.** A 2xx with an id leads to one status.", [9]),
    ],
)
def test_a_sentence_ends_where_a_reader_pauses(text: str, counted: list[int], tmp_path: Path) -> None:
    """Items, cells and paragraphs end one. Code and links are words, and headings are left out."""
    page = tmp_path / "page.md"
    page.write_text(text)
    assert [one.words for one in sentences(page)] == counted
