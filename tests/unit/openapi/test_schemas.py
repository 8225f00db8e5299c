"""JSON Schema in few words."""

from typing import Any, TypedDict

import pytest

from shared.core.states import Status
from shared.openapi.schemas import TEXT, const, list_of, one_text_of, or_null, record, text, typed
from tests.support.described_api import faults_in


class Shape(TypedDict, total=False):
    """A shape for the tests."""

    name: str
    count: int | None
    share: float
    flag: bool
    parts: list[dict[str, Any]]
    status: Status


class Whole(TypedDict):
    """Another one, of which nothing may be missing."""

    kind: str


def test_the_schema_of_a_shape_has_its_members() -> None:
    """With their types. What is known beside the type takes its place."""
    schema = typed(Shape, "A shape.", name=const("x"))
    assert faults_in(schema, {"name": "x", "count": None, "share": 0.5, "flag": True, "parts": [{}]}) == []
    assert faults_in(schema, {"status": "queued"}, closed=True) == []
    for wrong in ({"name": "y"}, {"count": "1"}, {"flag": 1}, {"parts": [1]}, {"status": "done"}):
        assert len(faults_in(schema, wrong)) == 1
    assert schema["description"] == "A shape."


def test_only_the_members_that_are_always_there_are_required() -> None:
    """As the TypedDict says."""
    assert "required" not in typed(Shape)
    assert typed(Whole)["required"] == ["kind"]


def test_a_member_that_the_shape_does_not_have_is_a_mistake() -> None:
    """So a schema cannot go on describing what the code has dropped."""
    with pytest.raises(TypeError, match="Whole has no sort"):
        typed(Whole, sort=TEXT)


@pytest.mark.parametrize("schema", [TEXT, const("a"), one_text_of(["a"]), list_of(TEXT), record({"a": TEXT})])
def test_null_is_added_to_any_schema(schema: dict[str, Any]) -> None:
    """And nothing else is."""
    assert faults_in(or_null(schema), None) == []
    assert faults_in(schema, None) != []
    assert faults_in(or_null(schema), 5) != []


def test_a_pattern_is_of_the_whole_text() -> None:
    """Also one with alternatives, and beside bounds of the length."""
    schema = text("a|bc", least=2, most=3)
    assert [value for value in ("a", "bc", "xbc", "bcx", "ac") if not faults_in(schema, value)] == ["bc"]


def test_a_list_has_bounds() -> None:
    """Both are of the number of its elements."""
    schema = list_of(TEXT, least=1, most=2)
    assert [number for number in range(4) if not faults_in(schema, ["x"] * number)] == [1, 2]
