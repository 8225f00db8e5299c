"""Redacted exceptions: the chain of causes, the names of types, and what of an exception may be logged."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.telemetry.exceptions import NAME_MAX, chain, redacted, type_name

SECRET = "sk-geheim"


class QuotaExceeded(Exception):
    """An exception of a library."""


def caught(*errors: BaseException) -> BaseException:
    """Raise each exception from the one before, and return the last one as it is caught."""
    before = None
    for error in errors:
        try:
            raise error from before
        except type(error) as raised:
            before = raised
    assert before
    return before


def test_a_chain_begins_with_the_exception_and_goes_to_its_first_cause() -> None:
    """The cause of an exception follows it, then the cause of that one."""
    first, second, third = OSError(), ConnectionError(), QuotaExceeded()
    assert list(chain(caught(first, second, third))) == [third, second, first]


def test_an_exception_raised_while_another_one_is_handled_follows_it() -> None:
    """Without an explicit cause, the exception that was being handled counts as the cause."""

    def clean_up() -> None:
        try:
            int("not a number")
        finally:
            raise QuotaExceeded

    with pytest.raises(QuotaExceeded) as raised:
        clean_up()
    assert [type(one) for one in chain(raised.value)] == [QuotaExceeded, ValueError]


def test_an_explicit_cause_counts_more_than_the_context() -> None:
    """`raise ... from` names the cause. The exception that was being handled is not part of the chain."""
    error, cause, context = QuotaExceeded(), ConnectionError(), OSError()
    error.__cause__, error.__context__ = cause, context
    assert list(chain(error)) == [error, cause]


def test_no_exception_has_an_empty_chain() -> None:
    """There may be no exception to log."""
    assert list(chain(None)) == []


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=6, max_size=6))
def test_a_chain_ends_and_has_no_exception_twice(links: list[tuple[int, int]]) -> None:
    """Exceptions may refer to one another in a circle. Each one of a chain is referred to by the one before."""
    errors = [QuotaExceeded() for _ in links]
    for error, (cause, context) in zip(errors, links, strict=True):
        error.__cause__ = errors[cause] if cause else None
        error.__context__ = errors[context] if context else None
    found = list(chain(errors[0]))
    assert found[0] is errors[0]
    assert len({id(one) for one in found}) == len(found)
    for before, after in pairwise(found):
        assert after is (before.__cause__ or before.__context__)


def test_a_type_name_has_no_module_and_at_most_80_characters() -> None:
    """The name of a type may be generated, so it has a limit. The function that defines the type is not shown."""

    class Inner(Exception):
        pass

    assert [type_name(error) for error in (QuotaExceeded(SECRET), Inner())] == ["QuotaExceeded", "Inner"]
    for rest in ("", "x", "x" * 1000):
        assert type_name(type("E" * NAME_MAX + rest, (Exception,), {})()) == "E" * 80


@pytest.mark.parametrize("text", [SECRET, f"{SECRET}\n{SECRET}", f"%s {{}} {SECRET}"])
def test_no_text_of_an_exception_is_shown(text: str) -> None:
    """Of every exception in the chain only the type and the places in the code remain."""
    error = caught(OSError(7, text), KeyError(text), ValueError(text))
    error.add_note(text)
    found = redacted(error)
    assert found.keys() == {"errors", "places"}
    assert found["errors"] == ["ValueError", "KeyError", "OSError"]
    assert SECRET not in str(found)


def test_the_places_are_those_of_the_whole_chain() -> None:
    """The stack traces of all exceptions follow one another, with file, line and function."""

    def read() -> None:
        raise OSError

    def call() -> None:
        try:
            read()
        except OSError as error:
            raise QuotaExceeded from error

    with pytest.raises(QuotaExceeded) as raised:
        call()
    places = redacted(raised.value)["places"]
    assert re.findall(r'File ".*test_exceptions\.py", line \d+, in (\w+)', places)[-3:] == ["call", "call", "read"]


def test_an_exception_that_was_never_raised_has_no_places() -> None:
    """Its type is still shown."""
    assert redacted(QuotaExceeded(SECRET)) == {"errors": ["QuotaExceeded"], "places": ""}
