"""The input of a request as a list of items, page by page."""

from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.pages import Page, input_items, page_of, parse_page
from shared.core.errors import BadRequest

ID = "resp_0123456789abcdef0123456789abcdef"
ITEMS = [{"id": f"msg_{n}"} for n in range(5)]


def numbers_of(listing: Mapping[str, Any]) -> list[int]:
    """Return which items a page shows."""
    data = listing["data"]
    assert isinstance(data, list)
    return [int(item["id"].removeprefix("msg_")) for item in data]


def test_a_text_is_one_message() -> None:
    """A string is what the user said."""
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
    """Content given as a string is listed in the form of the contract, by who said it."""
    (item,) = input_items(ID, {"input": [{"role": role, "content": "hello"}]})
    assert item["content"] == [{"type": part, "text": "hello"}]


def test_items_keep_what_they_have() -> None:
    """An id, a type and parts that were given stay; nulls go; what is no item is not listed."""
    call = {"type": "function_call_output", "call_id": "c", "output": "4", "id": None}
    own = {"id": "msg_own", "type": "message", "role": "user", "content": [{"type": "input_text", "text": "x"}]}
    first, second = input_items(ID, {"input": [call, 7, own, "text", None]})
    assert first["id"].startswith("item_")
    assert {"type": "function_call_output", "call_id": "c", "output": "4"}.items() <= first.items()
    assert "status" not in first
    assert second == {**own, "status": "completed"}


def test_names_of_items_stay_the_same() -> None:
    """Each listing gives an item the same id, or paging would not work."""
    body = {"input": [{"role": "user", "content": "a"}, {"role": "user", "content": "a"}]}
    assert input_items(ID, body) == input_items(ID, body)
    assert len({item["id"] for item in input_items(ID, body)}) == 2


@pytest.mark.parametrize("body", [{}, {"input": None}, {"input": []}])
def test_no_input_is_an_empty_list(body: dict[str, object]) -> None:
    """All five fields are there, the names of first and last null."""
    assert page_of(input_items(ID, body), Page()) == {
        "object": "list",
        "data": [],
        "has_more": False,
        "first_id": None,
        "last_id": None,
    }


def test_the_newest_comes_first_unless_asked_otherwise() -> None:
    """The contract's order is descending."""
    assert numbers_of(page_of(ITEMS, parse_page({}))) == [4, 3, 2, 1, 0]
    assert numbers_of(page_of(ITEMS, parse_page({"order": "asc"}))) == [0, 1, 2, 3, 4]


def test_a_page_begins_after_the_last() -> None:
    """`has_more`, `first_id` and `last_id` lead through the list."""
    first = page_of(ITEMS, parse_page({"limit": "2"}))
    assert (first["has_more"], first["first_id"], first["last_id"]) == (True, "msg_4", "msg_3")
    last = page_of(ITEMS, parse_page({"limit": "3", "after": "msg_3"}))
    assert (numbers_of(last), last["has_more"]) == ([2, 1, 0], False)


@given(st.integers(1, 100), st.sampled_from(["asc", "desc"]), st.integers(0, 250))
def test_pages_show_every_item_once(limit: int, order: str, count: int) -> None:
    """Whoever follows the pages sees the whole list, nothing twice."""
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
def test_a_query_that_is_wrong_names_its_field(name: str, value: str) -> None:
    """A limit is an integer from 1 to 100, an order one of two words."""
    with pytest.raises(BadRequest) as refused:
        parse_page({name: value})
    assert refused.value.param == name


@pytest.mark.parametrize("limit", ["1", "9", "10", "99", "100"])
def test_a_limit_is_1_to_100(limit: str) -> None:
    """The ends of the range are in it."""
    assert parse_page({"limit": limit}).limit == int(limit)


def test_after_must_be_of_the_list() -> None:
    """The id of another list's item is refused, not taken for the beginning."""
    with pytest.raises(BadRequest) as refused:
        page_of(ITEMS, parse_page({"after": "msg_9"}))
    assert refused.value.param == "after"


def test_other_query_parameters_are_ignored() -> None:
    """Azure's clients send an api-version, others `include[]`."""
    assert parse_page({"api-version": "preview", "include[]": "x", "beta": "true"}) == Page()


def test_items_that_repeat_an_id_are_told_apart() -> None:
    """A page goes on from an id, so the first item keeps it and every other gets one of ours; so does a strange one."""
    items = [{"id": "msg_a", "content": "0"}, {"id": "msg_a", "content": "1"}, {"id": 5, "content": "2"}]
    names = [item["id"] for item in input_items(ID, {"input": items})]
    assert names[0] == "msg_a"
    assert len(set(names)) == 3
    assert all(isinstance(name, str) for name in names)
