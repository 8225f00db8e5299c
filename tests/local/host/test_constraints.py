"""Route constraints that are regular expressions, read as .NET reads them."""

import pytest

from local.host.constraints import expression, pattern
from local.host.errors import LoadError


def is_let_through(constraint: str, value: str) -> bool:
    """Return whether the constraint's expression lets a value through."""
    found = expression(constraint)
    assert found
    return found.search(value) is not None


@pytest.mark.parametrize(
    ("constraint", "value", "expected"),
    [
        (r"regex(^\S*\z)", "abc", True),
        (r"regex(^\S*\z)", "", True),
        (r"regex(^\S*\z)", "a\n", False),
        (r"regex(^\S*$)", "a\n", True),
        (r"regex(^\S*\Z)", "a\n", True),
        (r"regex(^\S*\Z)", "a\n\n", False),
        (r"regex(b)", "abc", True),
        (r"regex(^b)", "abc", False),
        (r"regex(^ABC$)", "abc", True),
        (r"regex(^\d{{2}}$)", "12", True),
        (r"regex(^\d{{2}}$)", "123", False),
        (r"regex(^[^\s/]+\z)", "a\u2028b", False),
        (r"regex(^(?<first>a)b\z)", "ab", True),
        (r"regex((?<!a)b)", "ab", False),
    ],
)
def test_an_expression_means_what_it_means_in_dotnet(constraint: str, value: str, expected: bool) -> None:
    r"""It may match anywhere, ignores case, and `\z` is the very end."""
    assert is_let_through(constraint, value) is expected


@pytest.mark.parametrize("separator", ["\x1c", "\x1f", "\u200b"])
def test_python_alone_takes_a_separator_for_white_space(separator: str) -> None:
    """A character that Python calls white space, and .NET does not, is let through. So is a space of no width."""
    assert is_let_through(r"regex(^\S*\z)", separator)


@pytest.mark.parametrize("space", [" ", "\t", "\n", "\x0b", "\x85", "\xa0", "\u1680", "\u2003", "\u2029", "\u3000"])
def test_white_space_is_that_of_unicode(space: str) -> None:
    """Every separator of Unicode is white space, as are the control characters that move the cursor."""
    assert not is_let_through(r"regex(^\S*\z)", f"a{space}b")
    assert is_let_through(r"regex(^\s\z)", space)


def test_a_parameter_with_an_expression_is_one_segment() -> None:
    """An expression does not change where a parameter ends."""
    assert pattern("regex(.*)") == pattern("")
    assert expression("int") is None


@pytest.mark.parametrize("constraint", ["regex((a)", r"regex([\S])"])
def test_an_unreadable_expression_is_refused(constraint: str) -> None:
    """An expression that this host cannot read is refused with an error that names it."""
    with pytest.raises(LoadError, match="the local host"):
        expression(constraint)


def test_an_unknown_constraint_is_refused() -> None:
    """A constraint that this host does not know is refused with an error that names it."""
    with pytest.raises(LoadError, match="length"):
        pattern("length(3)")
