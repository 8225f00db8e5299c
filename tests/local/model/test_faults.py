"""The faults of the simulated model, and what it counts meanwhile."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from tests.support.peer_processes import ModelPeer, error_of, eventually, model_peer


def test_repeats_with_one_key_are_one_response(model: ModelPeer) -> None:
    """Create calls with one key return the same response, also while the first call is still running."""
    model.faults(create_latency_s=0.3)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: model.create_with_key("k").json()["id"], range(4)))
    assert len(set(answers)) == 1
    counted = model.stats()
    assert (counted["creates"], counted["started"], counted["started_twice"]) == (4, {"k": 1}, 0)


def test_keys_can_be_ignored_and_that_is_counted(model: ModelPeer) -> None:
    """With `ignore_idempotency`, every create call starts a new response, and repeated starts are counted."""
    model.faults(ignore_idempotency=True)
    assert model.create_with_key("k").json()["id"] != model.create_with_key("k").json()["id"]
    assert (model.stats()["started"], model.stats()["started_twice"]) == ({"k": 2}, 1)


def test_a_call_whose_answer_is_held_back_is_counted_meanwhile(model: ModelPeer) -> None:
    """`held` is how many create calls wait for their answers. Their work has begun."""
    model.faults(create_latency_s=0.5)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(model.create)
        eventually(lambda: model.stats()["held"] == 1)
        assert sum(model.stats()["started"].values()) == 1
        answer.result()
    assert model.stats()["held"] == 0


def test_calls_are_counted_until_a_reset(model: ModelPeer) -> None:
    """Every kind of call has a count, and a reset sets all counts to 0."""
    response_id = model.create().json()["id"]
    model.get(response_id)
    model.http.post(f"/v1/responses/{response_id}/cancel")
    model.http.delete(f"/v1/responses/{response_id}")
    counted = model.stats()
    names = ("creates", "retrieves", "cancels", "deletes", "cancelled", "aborted")
    assert [counted[name] for name in names] == [1, 1, 1, 1, 1, 0]
    model.http.post("/_sim/reset")
    counted = model.stats()
    assert (counted.pop("started"), counted.pop("models")) == ({}, {})
    assert set(counted.values()) == {0}


def test_a_key_can_be_required(tmp_path: Path) -> None:
    """With `--api-key`, both header styles are accepted. Every other call is answered with 401."""
    with model_peer(tmp_path, "--api-key", "secret") as model:

        def call(headers: dict[str, str]) -> httpx.Response:
            return model.http.post("/v1/responses", json={"model": "sim-instant"}, headers=headers)

        for headers in ({"api-key": "secret"}, {"authorization": "Bearer secret"}):
            assert call(headers).status_code == 200
        for headers in ({}, {"api-key": "other"}, {"authorization": "Bearer"}):
            assert error_of(call(headers)) == (401, None, "invalid_api_key")


def test_switches_can_be_set_at_the_start(tmp_path: Path) -> None:
    """`--faults` accepts the JSON of /_sim/faults, and a reset restores these switches."""
    with model_peer(tmp_path, "--faults", '{"outage": "503"}', "--ignore-idempotency") as model:
        assert model.create().status_code == 503
        model.faults(outage=False)
        assert model.create_with_key("k").json()["id"] != model.create_with_key("k").json()["id"]
        model.reset()
        assert model.create().status_code == 503


@pytest.mark.parametrize("switches", [{"outages": True}, {"error_rate": 2}, {"latency_s": -1}, []])
def test_a_wrong_switch_is_refused(model: ModelPeer, switches: object) -> None:
    """An unknown switch or a value out of range is answered with 400 and changes nothing."""
    assert model.http.post("/_sim/faults", json=switches).status_code == 400
    assert model.create("sim-instant").status_code == 200


def test_a_rate_limit_ends_after_its_calls(model: ModelPeer) -> None:
    """The next n calls are answered with 429 and Retry-After. The call after them succeeds."""
    model.faults(rate_limit={"n": 2, "retry_after": 3})
    answers = [model.create() for _ in range(3)]
    assert [answer.headers.get("retry-after") for answer in answers] == ["3", "3", None]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert error_of(answers[0]) == (429, None, "rate_limit_exceeded")


def test_errors_have_their_rate_and_the_same_order_for_the_same_seed(model: ModelPeer) -> None:
    """About the configured share of calls fails. After a reset, the same calls fail again."""

    def statuses() -> list[int]:
        model.faults(error_rate=0.3, error_status=502)
        return [model.create().status_code for _ in range(50)]

    first = statuses()
    model.reset()
    assert statuses() == first
    assert 5 <= first.count(502) <= 25


@pytest.mark.parametrize("outage", ["drop", True])
def test_an_outage_drops_connections(model: ModelPeer, outage: object) -> None:
    """During an outage, calls get no answer and start nothing. Afterwards they succeed."""
    model.faults(outage=outage)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        model.create()
    model.faults(outage=False)
    assert model.stats()["started"] == {}
    assert model.create().status_code == 200


def test_creates_can_be_refused(model: ModelPeer) -> None:
    """Create calls get the configured status and message. Other calls work."""
    response_id = model.create().json()["id"]
    model.faults(refuse_creates={"status": 422, "message": "No."})
    refused = model.create()
    assert (refused.status_code, refused.json()["error"]["message"]) == (422, "No.")
    assert model.get(response_id).status_code == 200


def test_a_lost_answer_has_started_its_response(model: ModelPeer) -> None:
    """The connection is cut after the start. A repeat with the same key returns that response."""
    model.faults(lose_answers=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        model.create_with_key("k")
    assert model.create_with_key("k").status_code == 200
    assert model.stats()["started"] == {"k": 1}


def test_a_slow_create_starts_its_response_first(model: ModelPeer) -> None:
    """The response runs while its create answer is delayed. Other calls are not delayed."""
    model.faults(create_latency_s=0.4)
    assert model.create("sim-0.3s").json()["status"] == "completed"
    begin = time.monotonic()
    model.get("resp_x")
    assert time.monotonic() - begin < 0.4


def test_latency_delays_every_call(model: ModelPeer) -> None:
    """Each answer takes at least the configured time."""
    model.faults(latency_s=0.1)
    begin = time.monotonic()
    model.get(model.create().json()["id"])
    assert time.monotonic() - begin >= 0.2


def test_quirks_of_azure_can_be_simulated(model: ModelPeer) -> None:
    """A response can be missing at first, have null fields while queued, and carry a Retry-After until it ends."""
    model.faults(null_while_queued=True, retry_after_s=2, missing_s=60)
    queued = model.create()
    assert queued.json()["created_at"] is queued.json()["output"] is None
    assert queued.headers["retry-after"] == "2"
    assert model.get(queued.json()["id"]).status_code == 404
    model.faults(missing_s=0)
    assert model.get(queued.json()["id"]).json()["status"] == "queued"
    finished = model.create("sim-instant")
    assert isinstance(finished.json()["created_at"], int)
    assert "retry-after" not in finished.headers


def test_repeated_requests_with_one_key_are_counted(model: ModelPeer) -> None:
    """`asked_twice` counts keys with more than one create call, also when the work was not started again."""
    for key in ("a", "a", "a", "b"):
        model.create_with_key(key)
    assert (model.stats()["asked_twice"], model.stats()["started_twice"]) == (1, 0)


def test_responses_are_counted_by_model(model: ModelPeer) -> None:
    """`models` counts the responses that were started for each model."""
    for name in ("sim-1s", "sim-1s", "sim-2s"):
        model.create(name)
    assert model.stats()["models"] == {"sim-1s": 2, "sim-2s": 1}


def test_the_ages_at_which_a_response_was_polled_are_kept(model: ModelPeer) -> None:
    """Ages are in seconds, in order, by idempotency key, beside the age now."""
    response_id = model.create_with_key("k").json()["id"]
    for _ in range(2):
        model.get(response_id)
    seen = model.http.get("/_sim/polls").json()
    (first, second), age_s = seen["polled"]["k"], seen["ages"]["k"]
    assert 0 <= first < second <= age_s < 60
