"""The response object in a JSON answer: in an envelope, with a status in other words, or without one."""

from typing import Any

import pytest

from shared.contract.upstream_events import response_in
from shared.core.states import Status

ERROR = {"code": "policy", "message": "Blocked."}


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("COMPLETED", Status.COMPLETED),
        ("succeeded", Status.COMPLETED),
        ("In Progress", Status.IN_PROGRESS),
        ("canceled", Status.CANCELLED),
        ("pending", Status.QUEUED),
        ("expired", Status.FAILED),
        ("cancelling", Status.IN_PROGRESS),
    ],
)
@pytest.mark.parametrize("members", [{"object": "response"}, {"output": []}])
def test_a_status_is_read_in_other_words(said: str, status: Status, members: dict[str, Any]) -> None:
    """Of an object that can only be a response. An unknown word is one of unfinished work, whose end is yet to come."""
    assert response_in({**members, "status": said}) == {**members, "status": status}


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"output": [{"type": "message"}]}, Status.COMPLETED),
        ({"object": "response", "output_text": "hello"}, Status.COMPLETED),
        ({"output": [], "error": ERROR}, Status.FAILED),
        ({"output": []}, Status.IN_PROGRESS),
        ({"object": "response"}, Status.IN_PROGRESS),
    ],
)
@pytest.mark.parametrize("said", [{}, {"status": None}, {"status": 200}, {"status": ""}])
def test_without_a_status_the_content_shows_it(members: dict[str, Any], status: Status, said: dict[str, Any]) -> None:
    """An output without a status is an answer."""
    assert response_in({**members, **said}) == {**members, "status": status}


@pytest.mark.parametrize(
    "body",
    [
        {"response": {"status": "completed"}},
        {"status": "success", "data": {"status": "completed"}},
        {"code": 0, "result": {"response": {"status": "completed"}}, "error": None},
        [{"status": "completed"}],
    ],
)
def test_a_response_is_found_in_its_envelope(body: object) -> None:
    """The words of the envelope are not those of the response."""
    assert response_in(body) == {"status": "completed"}


@pytest.mark.parametrize(
    "body",
    [
        *(None, "completed", 7, [], {}, [{"status": "completed"}] * 2, {"status": "success"}, {"status": "error"}),
        *({"status": 500, "title": "x"}, {"error": ERROR, "data": {"status": "completed"}}, {"data": {"id": "up_1"}}),
    ],
    ids=range(11),
)
def test_another_body_is_no_response(body: object) -> None:
    """An envelope of an error, or of something else, is none."""
    assert response_in(body) is None
