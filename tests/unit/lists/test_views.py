"""Entries as callers read them."""

from dataclasses import replace

import pytest

from shared.core.entries import Entry
from shared.core.ids import token_for
from shared.core.keys import entry_place
from shared.core.records import Usage, WaitInfo
from shared.core.states import Status
from shared.lists.views import list_view, response_view

ID = "resp_0123456789abcdef0123456789abcdef"
ENTRY = Entry(ID, 1_500, "ann", Status.QUEUED, background=True, store=True, model="m", metadata={"team": "blue"})


def test_an_unfinished_response_has_its_token() -> None:
    """Its fields are those of the response object but what the model was asked and said."""
    assert response_view(ENTRY) == {
        "id": ID,
        "object": "response",
        "created_at": 1,
        "status": "queued",
        "completed_at": None,
        "ended_at": None,
        "model": "m",
        "background": True,
        "store": True,
        "previous_response_id": None,
        "metadata": {"team": "blue"},
        "error": None,
        "usage": None,
        "continuation_token": token_for(ID),
    }


def test_an_ended_response_has_its_tokens_and_no_continuation_token() -> None:
    """The total is the sum of input and output."""
    shown = response_view(replace(ENTRY, status=Status.COMPLETED, ended_ms=3_900, usage=Usage(10, 4, 20, 15)))
    assert (shown["completed_at"], shown["continuation_token"]) == (3, None)
    assert shown["usage"] == {
        "input_tokens": 10,
        "input_tokens_details": {"cached_tokens": 4},
        "output_tokens": 20,
        "output_tokens_details": {"reasoning_tokens": 15},
        "total_tokens": 30,
    }


@pytest.mark.parametrize(("error", "code"), [("rate_limit_exceeded", "rate_limit_exceeded"), ("", "server_error")])
def test_a_failed_response_has_the_code_of_its_error(error: str, code: str) -> None:
    """The message is in the response object. It may repeat what the caller sent."""
    shown = response_view(replace(ENTRY, status=Status.FAILED, ended_ms=3_900, error=error))
    assert (shown["error"], shown["completed_at"], shown["ended_at"]) == ({"code": code}, None, 3)


def test_a_response_that_waits_says_for_what() -> None:
    """As in the response object, and only until it ends."""
    waiting = replace(ENTRY, wait=WaitInfo("upstream", "status 503", 2, 1_000, 9_000))
    assert response_view(waiting)["waiting"]["reason"] == "upstream"
    assert "waiting" not in response_view(replace(waiting, status=Status.CANCELLED))


def test_a_page_says_how_to_go_on() -> None:
    """An empty page may have more behind it: little of what was read matches."""
    data = [{"id": "a"}, {"id": "b"}]
    ends = {"first_id": "a", "last_id": "b"}
    assert list_view(data, None) == {"object": "list", "data": data, "has_more": False, "next_after": None, **ends}
    page = list_view([], entry_place(5, ID))
    assert (page["has_more"], page["next_after"], page["first_id"], page["last_id"]) == (True, f"5.{ID}", None, None)
