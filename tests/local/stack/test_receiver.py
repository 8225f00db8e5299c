"""The callback receiver: what it keeps, what it verifies, and its faults."""

import datetime as dt
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from standardwebhooks import Webhook

from local.stack.receiver import callback_line
from tests.support.peer_processes import peer

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
EVENT = json.dumps({"type": "response.completed", "data": {"id": "resp_1"}})


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    """Run one receiver for all tests of this module."""
    directory = tmp_path_factory.mktemp("receiver")
    with peer(directory, "local.stack.receiver", "--secret", SECRET) as url, httpx.Client(base_url=url) as http:
        yield http


@pytest.fixture
def http(running: httpx.Client) -> httpx.Client:
    """Return a client of a receiver that has kept nothing and has no faults."""
    running.delete("/_received").raise_for_status()
    running.post("/_faults", json={"fail": 0, "fail_first_per_id": 0, "fail_only": None, "delay_s": 0, "headers": {}})
    return running


def signed(webhook_id: str, body: str = EVENT) -> dict[str, str]:
    """Return the headers of a signed callback."""
    now = dt.datetime.now(dt.UTC)
    signature = Webhook(SECRET).sign(webhook_id, now, body)
    stamp = str(int(now.timestamp()))
    return {"webhook-id": webhook_id, "webhook-timestamp": stamp, "webhook-signature": signature}


def send(http: httpx.Client, webhook_id: str) -> httpx.Response:
    """Send a valid callback."""
    return http.post("/callback", content=EVENT, headers=signed(webhook_id))


def received(http: httpx.Client) -> list[dict[str, Any]]:
    """Return what the receiver kept."""
    kept: list[dict[str, Any]] = http.get("/_received").json()
    return kept


def test_a_signed_callback_is_verified_and_kept(http: httpx.Client) -> None:
    """A callback is listed with its path, id, type, response, size and time."""
    begin = time.time()
    assert send(http, "msg_1").status_code == 204
    (row,) = received(http)
    assert begin <= row.pop("received_at") <= time.time()
    assert row == {
        "path": "/callback",
        "webhook_id": "msg_1",
        "traceparent": None,
        "verified": True,
        "type": "response.completed",
        "response_id": "resp_1",
        "body_bytes": len(EVENT),
        "answered": 204,
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"webhook-id": "msg_2"},
        {"webhook-timestamp": "soon"},
        {"webhook-signature": "nonsense"},
        {"webhook-timestamp": "1"},
    ],
)
def test_a_wrong_signature_is_kept_as_not_verified(http: httpx.Client, changed: dict[str, str]) -> None:
    """A tampered, stale or malformed callback is listed too, as not verified."""
    http.post("/any/path", content=EVENT, headers=signed("msg_1") | changed)
    (row,) = received(http)
    assert (row["path"], row["verified"]) == ("/any/path", False)


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"type": 1}'])
def test_a_body_that_is_not_an_event_is_kept(http: httpx.Client, body: bytes) -> None:
    """A callback whose body is not an event is listed with null as its type and response."""
    assert http.post("/", content=body).status_code == 204
    (row,) = received(http)
    assert (row["type"], row["response_id"], row["body_bytes"]) == (None, None, len(body))


def test_the_next_answers_can_fail(http: httpx.Client) -> None:
    """The configured number of answers have the configured status and headers. The next answer succeeds."""
    http.post("/_faults", json={"fail": 2, "status": 503, "headers": {"retry-after": "7"}})
    answers = [send(http, f"msg_{n}") for n in range(3)]
    assert [answer.status_code for answer in answers] == [503, 503, 204]
    assert answers[0].headers["retry-after"] == "7"


def test_the_first_attempts_of_each_id_can_fail(http: httpx.Client) -> None:
    """With `fail_first_per_id`, attempts are counted per webhook id."""
    http.post("/_faults", json={"fail_first_per_id": 1, "status": 500})
    sent = [send(http, webhook_id).status_code for webhook_id in ("a", "b", "a", "b")]
    assert sent == [row["answered"] for row in received(http)] == [500, 500, 204, 204]


def test_attempts_without_a_webhook_id_are_counted_by_response(http: httpx.Client) -> None:
    """Other systems send none. With `fail_only`, callbacks to other paths do not fail."""
    http.post("/_faults", json={"fail_first_per_id": 2, "fail_only": "/refusing", "status": 503})

    def sent(path: str, name: str) -> int:
        event = {"type": "response.completed", "data": {"id": name}}
        return http.post(path, json=event).status_code

    assert [sent("/refusing", name) for name in ("a", "b", "a", "b", "a", "b")] == [503, 503, 503, 503, 204, 204]
    assert [sent("/callback", name) for name in ("c", "c")] == [204, 204]


def test_an_answer_can_be_slow(http: httpx.Client) -> None:
    """A callback is kept when it arrives, even if its sender does not wait for the answer."""
    http.post("/_faults", json={"delay_s": 30})
    with pytest.raises(httpx.ReadTimeout):
        http.post("/callback", content=EVENT, headers=signed("msg_1"), timeout=0.2)
    assert len(received(http)) == 1


def test_a_wrong_switch_is_refused(http: httpx.Client) -> None:
    """An unknown switch is answered with 400 and changes nothing."""
    assert http.post("/_faults", json={"fails": 1}).status_code == 400
    assert send(http, "msg_1").status_code == 204


ARRIVED = {"type": "response.completed", "response_id": "resp_1", "verified": True, "answered": 204}


@pytest.mark.parametrize(
    ("changed", "line"),
    [
        ({}, "<- response.completed resp_1 verified 204"),
        ({"answered": 503}, "<- response.completed resp_1 verified 503"),
        ({"verified": False}, "<- response.completed resp_1 NOT VERIFIED 204"),
        ({"type": None, "response_id": None}, "<- no event verified 204"),
        (
            {"type": "a\nready http://evil\x1b[2J", "response_id": "r" * 99},
            f"<- a?ready http://evil?[2J {'r' * 60} verified 204",
        ),
        ({"type": "", "response_id": ["a"]}, "<-  ['a'] verified 204"),
    ],
)
def test_a_callback_is_one_line(changed: dict[str, object], line: str) -> None:
    """It shows what arrived, whether it can be trusted, and the answer. A sender cannot forge a second line."""
    assert callback_line({**ARRIVED, **changed}) == line
