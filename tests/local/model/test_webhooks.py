"""The simulated model's webhooks for the end of background work, as its endpoint receives them."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from anyio.from_thread import start_blocking_portal
from openai.types.webhooks import ResponseCompletedWebhookEvent

from local.credentials.keys import new_credentials
from local.model.webhooks import ATTEMPT_S
from local.stack.hook import Hook
from local.stack.process import PartError
from tests.support.callback_receivers import Receiver, Script, hang_up, reply
from tests.support.peer_processes import ModelPeer, eventually, model_peer, peer
from tests.support.receiver_peer import ReceiverPeer, receiver_peer

OWNER = new_credentials("owner")
SECRET = OWNER.signing_secret
ENDS = {
    "sim-0.1s": "response.completed",
    "sim-instant": "response.completed",
    "sim-fail-0.1s": "response.failed",
    "sim-incomplete-0.1s": "response.incomplete",
}


@dataclass(frozen=True)
class Received:
    """A model, and the endpoint that receives its webhooks."""

    model: ModelPeer
    endpoint: ReceiverPeer

    def start(self, model: str, **fields: Any) -> str:
        """Start background work and return its id."""
        response_id: str = self.model.create(model, **fields).json()["id"]
        return response_id

    def attempts(self, response_id: str, count: int = 1) -> list[tuple[str, int]]:
        """Wait for that many attempts for one response. Return the event type and the answer of each attempt so far."""
        eventually(lambda: len(self.endpoint.of(response_id)) >= count)
        return [(one["type"], one["answered"]) for one in self.endpoint.of(response_id)]

    def counted(self) -> tuple[int, int]:
        """Return how many attempts the model has made, and how many of them have failed."""
        stats = self.model.stats()
        return stats["webhooks_sent"], stats["webhooks_refused"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Received]:
    """Run one model and its endpoint for all tests of this module."""
    directory = tmp_path_factory.mktemp("told")
    with receiver_peer(directory, OWNER) as endpoint, told_model(directory, endpoint.url) as model:
        yield Received(model, endpoint)


@pytest.fixture
def received(running: Received) -> Received:
    """Return a model that has forgotten everything and an endpoint that accepts everything."""
    running.model.reset()
    running.endpoint.faults(fail=0, fail_first_per_id=0, status=500, delay_s=0)
    return running


@contextmanager
def told_model(directory: Path, url: str) -> Iterator[ModelPeer]:
    """Run a model that sends its webhooks to this address."""
    with model_peer(directory, *Hook(url, SECRET).flags) as model:
        yield model


@contextmanager
def endpoint_that(script: Script) -> Iterator[Receiver]:
    """Run an endpoint that plays this script and keeps the requests as sent over the wire."""
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(Receiver(script)) as endpoint:
        yield endpoint


def test_an_event_has_the_form_that_openai_sends(tmp_path: Path) -> None:
    """An event is thin, identified by its headers, and signed so that the OpenAI SDK verifies and reads it."""
    with endpoint_that(reply(200)) as endpoint, told_model(tmp_path, f"http://127.0.0.1:{endpoint.port}") as model:
        response_id = model.create("sim-instant").json()["id"]
        eventually(lambda: len(endpoint.requests) == 1)
    (request,) = endpoint.requests
    assert request.line == "POST /webhooks/upstream HTTP/1.1"
    assert request.headers["webhook-id"].startswith("wh_")
    assert request.headers["content-type"] == "application/json"
    assert request.headers["user-agent"].startswith("OpenAI/1.0 (+")
    event = openai.OpenAI(api_key="any").webhooks.unwrap(request.body, request.headers, secret=SECRET)
    assert isinstance(event, ResponseCompletedWebhookEvent)
    assert (event.type, event.object, event.data.id) == ("response.completed", "event", response_id)
    assert event.id.startswith("evt_")
    assert abs(event.created_at - time.time()) < 10


@pytest.mark.parametrize(
    "script", [reply(503), reply(307, "Location: /elsewhere"), hang_up], ids=["refused", "redirected", "reset"]
)
def test_an_event_is_repeated_unless_the_answer_is_a_2xx(tmp_path: Path, script: Script) -> None:
    """The event is sent again to the same address, with the same id and body and a valid signature.

    Redirects are not followed.
    """
    with endpoint_that(script) as endpoint, told_model(tmp_path, f"http://127.0.0.1:{endpoint.port}") as model:
        model.create("sim-instant")
        eventually(lambda: len(endpoint.requests) == 3)
    assert len({(one.line, one.headers["webhook-id"], one.body) for one in endpoint.requests}) == 1
    first, _, third = (int(one.headers["webhook-timestamp"]) for one in endpoint.requests)
    assert third > first
    for one in endpoint.requests:
        openai.OpenAI(api_key="any").webhooks.unwrap(one.body, one.headers, secret=SECRET)


@pytest.mark.parametrize("name", ENDS)
def test_every_end_of_background_work_is_sent(received: Received, name: str) -> None:
    """Each end is sent once, after it has happened, with its own event type."""
    begun = time.time()
    response_id = received.start(name)
    assert received.attempts(response_id) == [(ENDS[name], 204)]
    (event,) = received.endpoint.of(response_id)
    assert event["verified"]
    assert event["received_at"] - begun > (0 if name == "sim-instant" else 0.1)
    assert received.counted() == (1, 0)


def test_a_cancellation_is_sent_at_once(received: Received) -> None:
    """`response.cancelled` is sent at once, and no event for the end that the response would have had."""
    response_id = received.start("sim-60s")
    received.model.http.post(f"/v1/responses/{response_id}/cancel").raise_for_status()
    assert received.attempts(response_id) == [("response.cancelled", 204)]


def test_the_end_of_a_streamed_background_response_is_sent(received: Received) -> None:
    """The event is sent whether or not a client reads the stream of the background response."""
    (first, *_) = received.model.streamed("sim-instant", background=True)
    assert received.attempts(first["response"]["id"]) == [("response.completed", 204)]


def test_only_the_end_of_remembered_background_work_is_sent(received: Received) -> None:
    """No event is sent for foreground work, a repeated create call, or work that was lost or reset before its end."""
    received.start("sim-0.2s")
    received.model.reset()
    received.start("sim-0.2s")
    received.model.faults(forget_unfinished=True)
    received.model.create("sim-instant", background=False)
    received.model.faults(forget_unfinished=False)
    repeated = [received.model.create_with_key("k", model="sim-0.4s").json()["id"] for _ in range(2)]
    assert received.attempts(repeated[0]) == [("response.completed", 204)]
    assert received.counted() == (1, 0)


def test_the_end_is_sent_even_if_the_create_answer_was_lost(received: Received) -> None:
    """The end of work whose create answer was lost is sent like any other."""
    received.model.faults(lose_answers=1)
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        received.model.create_with_key("k", model="sim-instant")
    response_id = received.model.create_with_key("k", model="sim-instant").json()["id"]
    assert received.attempts(response_id) == [("response.completed", 204)]


def test_an_endpoint_that_does_not_answer_gets_the_event_again(received: Received) -> None:
    """An attempt that is not answered before its deadline counts as failed and is repeated."""
    received.endpoint.faults(delay_s=60)
    response_id = received.start("sim-instant")
    received.attempts(response_id)
    received.endpoint.faults(delay_s=0)
    received.attempts(response_id, 2)
    first, second = received.endpoint.of(response_id)
    assert first["webhook_id"] == second["webhook_id"]
    assert second["received_at"] - first["received_at"] >= ATTEMPT_S
    eventually(lambda: received.counted() == (2, 1))


def test_an_early_event_arrives_before_the_create_answer(received: Received) -> None:
    """With `webhook_early`, the event of work that ends at once is sent before the create answer.

    If the event is refused, its repeat follows after the answer.
    """
    received.model.faults(webhook_early=True)
    received.endpoint.faults(fail=1)
    response_id = received.start("sim-instant")
    assert [one["answered"] for one in received.endpoint.of(response_id)] == [500]
    assert received.attempts(response_id, 2) == [("response.completed", 500), ("response.completed", 204)]
    assert received.counted() == (2, 1)


def test_an_early_event_is_not_sent_before_the_end(received: Received) -> None:
    """With `webhook_early`, longer work is answered first, and its event is sent only after its end."""
    received.model.faults(webhook_early=True)
    begun = time.time()
    response_id = received.start("sim-0.5s")
    assert time.time() - begun < 0.5
    received.attempts(response_id)
    assert received.endpoint.of(response_id)[0]["received_at"] - begun >= 0.5


def test_an_event_can_be_lost(received: Received) -> None:
    """With `webhook_lost`, the event is never sent, although the work ends as usual."""
    received.model.faults(webhook_lost=True)
    lost = received.model.finished("sim-0.1s")["id"]
    received.model.faults(webhook_lost=False)
    received.attempts(received.start("sim-instant"))
    assert received.endpoint.of(lost) == []


def test_an_event_can_be_sent_twice(received: Received) -> None:
    """With `webhook_twice`, two events with the same id are sent at the same time.

    If one is refused, only that one is repeated.
    """
    received.model.faults(webhook_twice=True)
    received.endpoint.faults(fail=1)
    response_id = received.start("sim-instant")
    answers = [answer for _, answer in received.attempts(response_id, 3)]
    assert sorted(answers) == [204, 204, 500]
    assert len({one["webhook_id"] for one in received.endpoint.of(response_id)}) == 1
    assert received.counted() == (3, 1)


def test_each_model_shares_its_own_secret_with_its_host() -> None:
    """Every hook has a different secret, and the host gets it as a setting."""
    one, other = Hook("http://127.0.0.1:9"), Hook("http://127.0.0.1:9")
    assert one.settings == {"UPSTREAM_WEBHOOK_SECRET": one.flags[-1]}
    assert one.secret != other.secret


@pytest.mark.parametrize("flag", [("--webhook-url", "http://127.0.0.1:9"), ("--webhook-secret", SECRET)])
def test_an_address_and_a_secret_go_together(tmp_path: Path, flag: tuple[str, str]) -> None:
    """The model does not start with a webhook URL alone or a webhook secret alone."""
    with (
        pytest.raises(PartError, match="--webhook-url and --webhook-secret go together"),
        peer(tmp_path, "local.model", *flag),
    ):
        pass
