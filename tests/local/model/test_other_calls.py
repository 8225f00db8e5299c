"""The calls beside responses: what the simulated model refuses, as the contract's servers do."""

from typing import Any

import httpx
import pytest

from tests.support.peer_processes import ModelPeer


@pytest.fixture
def http(model: ModelPeer) -> httpx.Client:
    """Return a client of the model."""
    return model.http


@pytest.fixture
def conversation(http: httpx.Client) -> str:
    """Return the path of a new conversation with two items."""
    items = [{"role": "user", "content": "One."}, {"type": "item_reference", "id": "msg_1"}]
    made: dict[str, Any] = http.post("/v1/conversations", json={"items": items}).raise_for_status().json()
    return f"/v1/conversations/{made['id']}"


def test_an_item_has_an_id_and_a_type(http: httpx.Client, conversation: str) -> None:
    """Its own, or those of a message."""
    first, second = http.get(f"{conversation}/items").json()["data"]
    assert (first["type"], first["id"][:4], second["type"], second["id"]) == (
        "message",
        "msg_",
        "item_reference",
        "msg_1",
    )


@pytest.mark.parametrize("items", [None, {}, "x", [1], [{"type": 1}], [{"id": 1}]])
def test_what_is_no_list_of_items_is_refused(http: httpx.Client, conversation: str, items: object) -> None:
    """With a 400 that names the field, and nothing is added."""
    answer = http.post(f"{conversation}/items", json={"items": items})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "items")
    assert len(http.get(f"{conversation}/items").json()["data"]) == 2


@pytest.mark.parametrize("limit", ["0", "101", "x", ""])
def test_a_wrong_limit_is_refused(http: httpx.Client, conversation: str, limit: str) -> None:
    """With a 400 that names the parameter."""
    answer = http.get(f"{conversation}/items", params={"limit": limit})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


@pytest.mark.parametrize("path", ["/v1/responses/input_tokens", "/v1/responses/compact", "/v1/conversations"])
def test_a_body_that_is_no_object_is_refused(http: httpx.Client, path: str) -> None:
    """As for a create."""
    for body in (b"[]", b"{", b'{"metadata": []}'):
        assert http.post(path, content=body).status_code == 400
