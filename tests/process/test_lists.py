"""Lists over HTTP: a caller's responses, and its deliveries that are in trouble."""

from collections.abc import Iterator

import httpx
import pytest

from local.azurite import Azurite
from tests.support.peer_processes import Json, error_of, eventually
from tests.support.service_process import Service, create, service

BASES = ["openai/v1", "v1", "openai"]


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all tests of this module. It must have logged nothing unexpected at the end."""
    with service(tmp_path_factory.mktemp("lists"), azurite.account(), callers=("first", "second")) as running:
        yield running
        assert running.unexpected() == []


def items(client: httpx.Client, path: str, **query: str) -> list[Json]:
    """Return the items of all pages of a list."""
    found, after = list[Json](), dict[str, str]()
    while True:
        page = client.get(path, params={**query, **after}).raise_for_status().json()
        assert (page["object"], page["has_more"]) == ("list", page["next_after"] is not None)
        found += page["data"]
        if not page["has_more"]:
            return found
        after = {"after": page["next_after"]}


@pytest.mark.parametrize("base", BASES)
def test_a_caller_lists_its_responses(running: Service, base: str) -> None:
    """Under each base path, newest or oldest first, whether they have ended or not."""
    client = running.client("second", base=base)
    before = {item["id"] for item in items(client, "/responses")}
    made = [create(client, model)["id"] for model in ("sim-instant", "sim-60s", "sim-instant")]
    found = [item["id"] for item in items(client, "/responses", limit="2") if item["id"] not in before]
    assert set(found) == set(made)
    oldest_first = [item["id"] for item in items(client, "/responses", limit="1", order="asc")]
    assert [one for one in oldest_first if one not in before] == found[::-1]
    unfinished = items(client, "/responses", model="sim-60s", status="queued")
    unfinished += items(client, "/responses", model="sim-60s", status="in_progress")
    assert made[1] in [item["id"] for item in unfinished]
    assert {item["model"] for item in unfinished} == {"sim-60s"}
    client.post(f"/responses/{made[1]}/cancel").raise_for_status()


def test_an_item_says_what_its_response_says(running: Service) -> None:
    """Every field of an item is that of the object, and no prompt or output is among them."""
    client = running.client()
    made = create(client, "sim-instant", metadata={"team": "blue"}, input="a secret")
    shown = client.get(f"/responses/{made['id']}").json()
    item = next(one for one in items(client, "/responses") if one["id"] == made["id"])
    usage = item.pop("usage")
    assert item == {name: shown[name] for name in item}
    assert {name: shown["usage"][name] for name in ("input_tokens", "output_tokens")}.items() <= usage.items()
    assert "a secret" not in str(item)
    assert not {"input", "output", "instructions"} & item.keys()


def test_a_caller_lists_its_deliveries_in_trouble(running: Service) -> None:
    """A receiver that refuses an event ends its delivery, which a recovery begins again."""
    client = running.client()
    running.receiver.faults(fail=1, status=413)
    response_id = create(client, **running.with_callback(model="sim-instant"))["id"]
    eventually(lambda: [one["response_id"] for one in items(client, "/deliveries")] == [response_id], 20)
    (item,) = items(client, "/deliveries", state="failed", host="127.0.0.1")
    assert (item["target"], item["state"]) == ("callback", "failed")
    recovery = {"since": str(item["since"]), "dry_run": "true"}
    assert client.post("/deliveries/recover", params=recovery).json()["recovered"] == 1
    assert client.post("/deliveries/recover", params={**recovery, "dry_run": "false"}).json()["recovered"] == 1
    eventually(lambda: items(client, "/deliveries") == [], 20)


@pytest.mark.parametrize(
    ("path", "query", "param"),
    [
        ("/responses", {"status": "done"}, "status"),
        ("/responses", {"created_after": "soon"}, "created_after"),
        ("/responses", {"after": "resp_x"}, "after"),
        ("/responses", {"limit": "1000"}, "limit"),
        ("/deliveries", {"state": "delivered"}, "state"),
        ("/deliveries", {"after": "x"}, "after"),
    ],
)
def test_a_wrong_parameter_is_400(running: Service, path: str, query: dict[str, str], param: str) -> None:
    """The error names the parameter. A key is needed before it is looked at."""
    assert error_of(running.client().get(path, params=query)) == (400, param, "invalid_value")
    for base in BASES:
        assert error_of(running.stranger().get(f"/{base}{path}", params=query))[0] == 401
