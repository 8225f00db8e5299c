"""The input items of a request as a list in pages."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.pages import Page, input_items, is_true, page_of, parse_page
from shared.core.errors import BadRequest

ID = "resp_0123456789abcdef0123456789abcdef"
ITEMS = [{"id": f"msg_{n}"} for n in range(5)]


def numbers_of(listing: Mapping[str, Any]) -> list[int]:
    """Return the numbers of the items on a page."""
    data = listing["data"]
    assert isinstance(data, list)
    return [int(item["id"].removeprefix("msg_")) for item in data]


def test_a_text_is_one_message() -> None:
    """An input that is a string is listed as one message of the user."""
    (item,) = input_items(ID, {"input": "hello"})
    assert item["id"].startswith("msg_")
    assert {name: item[name] for name in item if name != "id"} == {
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": "hello"}],
    }


@pytest.mark.parametrize(("role", "part"), [("user", "input_text"), ("assistant", "output_text")])
def test_a_messages_text_becomes_a_part(role: str, part: str) -> None:
    """Content given as a string is listed as a content part. Its type depends on the role."""
    (item,) = input_items(ID, {"input": [{"role": role, "content": "hello"}]})
    assert item["content"] == [{"type": part, "text": "hello"}]


def test_items_keep_their_own_fields() -> None:
    """An item keeps its id, type and parts. Null fields are left out, and values that are not items are not listed."""
    call = {"type": "function_call_output", "call_id": "c", "output": "4", "id": None}
    own = {"id": "msg_own", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
    first, second = input_items(ID, {"input": [call, 7, own, "text", None]})
    assert first["id"].startswith("item_")
    assert {"type": "function_call_output", "call_id": "c", "output": "4"}.items() <= first.items()
    assert "status" not in first
    assert second == {**own, "status": "completed"}


def test_ids_of_items_stay_the_same() -> None:
    """An item has the same id in each listing, which paging relies on."""
    body = {"input": [{"role": "user", "content": "a"}, {"role": "user", "content": "a"}]}
    assert input_items(ID, body) == input_items(ID, body)
    assert len({item["id"] for item in input_items(ID, body)}) == 2


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": []}])
def test_no_input_is_an_empty_list(body: dict[str, object]) -> None:
    """The list of a request without input has all five fields. The ids of the first and last item are null."""
    assert page_of(input_items(ID, body), Page()) == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


def test_the_newest_comes_first_unless_asked_otherwise() -> None:
    """The default order of the contract is descending."""
    assert numbers_of(page_of(ITEMS, parse_page({}))) == [4, 3, 2, 1, 0]
    assert numbers_of(page_of(ITEMS, parse_page({"order": "asc"}))) == [0, 1, 2, 3, 4]


def test_a_page_starts_after_the_given_item() -> None:
    """`has_more`, `first_id` and `last_id` lead a client through the list."""
    first = page_of(ITEMS, parse_page({"limit": "2"}))
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, "msg_4", "msg_3")
    last = page_of(ITEMS, parse_page({"limit": "3", "after": "msg_3"}))
    assert (numbers_of(last), last["has_more"]) == ([2, 1, 0], False)


@given(st.integers(1, 100), st.sampled_from(["asc", "desc"]), st.integers(0, 250))
def test_pages_show_every_item_once(limit: int, order: str, count: int) -> None:
    """A client that follows the pages sees every item exactly once."""
    items = [{"id": f"msg_{n}"} for n in range(count)]
    seen: list[int] = []
    query = {"limit": str(limit), "order": order}
    while True:
        shown = page_of(items, parse_page(query))
        seen += numbers_of(shown)
        if not shown["has_more"]:
            break
        query["after"] = str(shown["last_id"])
    assert sorted(seen) == list(range(count))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("limit", wrong)
        for wrong in ("0", "101", "-1", "", " 7", "1.5", "ten", "٣", "²", "0" * 8 + "1" + "9" * 9, "9" * 5_000)
    ]
    + [("order", wrong) for wrong in ("", "up", "ASC")],
)
def test_a_wrong_query_parameter_is_named(name: str, value: str) -> None:
    """The limit is an integer from 1 to 100. The order is `asc` or `desc`."""
    with pytest.raises(BadRequest) as refused:
        parse_page({name: value})
    assert refused.value.param == name


@pytest.mark.parametrize("limit", ["1", "9", "10", "99", "100"])
def test_a_limit_is_1_to_100(limit: str) -> None:
    """Both ends of the range are accepted."""
    assert parse_page({"limit": limit}).limit == int(limit)


def test_after_must_be_the_id_of_an_item_in_the_list() -> None:
    """The id of another list's item is refused, and does not mean the start of the list."""
    with pytest.raises(BadRequest) as refused:
        page_of(ITEMS, parse_page({"after": "msg_9"}))
    assert refused.value.param == "after"


def test_other_query_parameters_are_ignored() -> None:
    """Azure's clients send an `api-version`, and others send `include[]`."""
    assert parse_page({"api-version": "preview", "include[]": "x", "beta": "true"}) == Page()


def test_items_that_repeat_an_id_get_different_ids() -> None:
    """Paging needs unique ids, so only the first item with an id keeps it.

    The others, and items whose id is not a string, get one of ours.
    """
    items = [{"id": "msg_a", "content": "0"}, {"id": "msg_a", "content": "1"}, {"id": 5, "content": "2"}]
    names = [item["id"] for item in input_items(ID, {"input": items})]
    assert names[0] == "msg_a"
    assert len(set(names)) == 3
    assert all(isinstance(name, str) for name in names)


@pytest.mark.parametrize(
    ("query", "expected"), [({}, False), ({"a": "true"}, True), ({"a": "False"}, False), ({"a": "True"}, True)]
)
def test_a_flag_is_true_or_false(query: dict[str, str], expected: bool) -> None:
    """Python's clients write it with a capital letter. Without it the answer is no."""
    assert is_true(query, "a") is expected


@pytest.mark.parametrize("value", ["", "1", "yes", "truE ", "null"])
def test_anything_else_is_no_flag(value: str) -> None:
    """It would else mean no in silence."""
    with pytest.raises(BadRequest) as refused:
        is_true({"a": value}, "a")
    assert (refused.value.param, refused.value.message) == ("a", "'a' must be 'true' or 'false'.")
