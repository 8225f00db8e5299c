"""An upstream without background mode. Callers get the same service, because a process of ours holds each call."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from tests.support.chaos_load import Reader, reading
from tests.support.peer_processes import Event, eventually
from tests.support.service_process import (
    Service,
    create,
    finished,
    followed,
    kinds,
    numbers,
    output_text,
    service,
    streamed,
    streaming,
    text_of,
)

STOPPED_S = 2.0
"""The time within which a cancel stops the upstream call."""


@pytest.fixture(scope="module")
def shared_service(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for most tests of this module. It must have logged nothing unexpected at the end."""
    directory = tmp_path_factory.mktemp("foreground")
    with service(directory, azurite.account(), time_factor=1, UPSTREAM_MODE="foreground") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture
def running(shared_service: Service) -> Service:
    """Return the service, with its model reset and refusing background work."""
    shared_service.model.reset()
    shared_service.model.faults(no_background=True)
    return shared_service


@pytest.fixture
def client(running: Service) -> httpx.Client:
    """Return a client of the service."""
    return running.client()


# The same as with background mode


@pytest.mark.parametrize(
    ("model", "status"), [("sim-1s", "completed"), ("sim-fail-0.5s", "failed"), ("sim-incomplete-0.5s", "incomplete")]
)
def test_background_work_is_held_by_the_service(
    running: Service, client: httpx.Client, model: str, status: str
) -> None:
    """The caller gets a token within a second, polls to the end, and is called back."""
    began = time.monotonic()
    response = create(client, **running.with_callback(model=model))
    assert time.monotonic() - began < 1
    assert response["status"] in {"queued", "in_progress"}
    assert response["continuation_token"]
    ended = finished(client, response)
    assert (ended["status"], ended["background"]) == (status, True)
    callback = running.receiver.first(response["id"])
    assert (callback["verified"], callback["type"]) == (True, f"response.{status}")
    assert running.model.stats()["started"] == {response["id"]: 1}


@pytest.mark.parametrize("background", [True, False])
def test_a_stream_is_logged_and_read_from_the_log(client: httpx.Client, background: bool) -> None:
    """The stream goes from created to completed without a gap.

    A later reader gets the same events.
    """
    events = streamed(client, background=background)
    assert numbers(events) == list(range(len(events)))
    assert (kinds(events)[0], kinds(events)[-1]) == ("created", "completed")
    stored = client.get(f"/responses/{events[0]['response']['id']}").json()
    assert stored["background"] is background
    assert events[-1]["response"] == stored
    assert text_of(events) == output_text(stored)
    assert followed(client, stored["id"]) == events


def test_a_stream_flows_while_the_model_writes(client: httpx.Client) -> None:
    """The first text arrives long before the last."""
    began = time.monotonic()
    with streaming(client, "sim-clock-60s") as events:
        assert next(event for event in events if event["type"] == "response.output_text.delta")
        assert time.monotonic() - began < 3
        client.post(f"/responses/{next(events)['continuation_token']}/cancel").raise_for_status()


def test_a_synchronous_request_waits_for_its_end(client: httpx.Client) -> None:
    """The answer is the finished response."""
    answer = client.post("/responses", json={"model": "sim-1s", "input": "Bees dance."}).json()
    assert (answer["status"], answer["background"], answer["continuation_token"]) == ("completed", False, None)
    assert "Bees dance." in output_text(answer)


def test_a_finished_response_can_be_continued(client: httpx.Client) -> None:
    """The service has learned the upstream's id from its stream."""
    first = finished(client, create(client, "sim-0.5s", input="Whales sing in the ocean."))
    following = create(client, "sim-0.5s", input="And bees?", previous_response_id=first["id"])
    assert "Whales sing in the ocean." in output_text(finished(client, following))


def test_a_refusal_fails_the_accepted_response(running: Service, client: httpx.Client) -> None:
    """The caller has the token before the upstream is called.

    The upstream's message therefore becomes the response's error.
    """
    running.model.faults(refuse_creates={"status": 400, "message": "Not this."})
    events = streamed(client)
    assert kinds(events) == ["created", "error", "failed"]
    assert events[-1]["response"]["error"]["message"] == "Not this."


def test_an_upstream_that_is_down_is_waited_for(running: Service, client: httpx.Client) -> None:
    """The response waits, and its work is started once when the upstream is back."""
    running.model.faults(outage="drop")
    response = create(client)
    eventually(lambda: running.model.stats()["creates"] > 1)
    running.model.faults(outage=False)
    assert finished(client, response)["status"] == "completed"
    assert running.model.stats()["started"] == {response["id"]: 1}


# Cancel and deadline


def test_a_cancel_stops_the_upstream_call(running: Service, client: httpx.Client) -> None:
    """The upstream works only while it is connected. The connection is closed within 2 s and not opened again."""
    response = create(client, "sim-60s")
    eventually(lambda: running.model.stats()["open_streams"] == 1)
    assert client.post(f"/responses/{response['id']}/cancel").json()["status"] == "cancelled"
    eventually(lambda: running.model.stats()["aborted"] == 1, STOPPED_S)
    assert running.model.stats()["started"] == {response["id"]: 1}


def test_a_cancel_ends_the_stream(running: Service, client: httpx.Client) -> None:
    """The terminal event comes last and has the highest number, also for later readers.

    These may lack the last events before it, which the client has got and nobody has stored.
    """
    with streaming(client, "sim-clock-60s") as stream:
        events = [next(stream) for _ in range(5)]
        client.post(f"/responses/{events[0]['response']['id']}/cancel").raise_for_status()
        eventually(lambda: running.model.stats()["aborted"] == 1, STOPPED_S)
        events += stream
    assert kinds(events)[-1] == "failed"
    assert events[-1]["response"]["status"] == "cancelled"
    assert numbers(events) == sorted(set(numbers(events)))
    later = followed(client, events[0]["response"]["id"])
    assert later == [event for event in events if event in later]
    assert later[-1] == events[-1]


def test_a_deadline_ends_polled_and_streamed_work(connection_string: str, tmp_path: Path) -> None:
    """Both responses fail in time with the same code, and their upstream calls end."""
    with service(tmp_path, connection_string, UPSTREAM_MODE="foreground", RESPONSE_DEADLINE_S="3") as running:
        client, began = running.client(), time.monotonic()
        response = create(client, "sim-60s")
        events = streamed(client, "sim-60s")
        ended = finished(client, response)
        assert 3 <= time.monotonic() - began < 8
        for one in (ended, events[-1]["response"]):
            assert (one["status"], one["error"]["code"]) == ("failed", "deadline_exceeded")
        eventually(lambda: running.model.stats()["aborted"] == 2, STOPPED_S)
        assert running.unexpected() == []


# Work that is lost and restarted


def check_begun_anew(running: Service, events: list[Event]) -> None:
    """Check a stream whose work was restarted once.

    Its readers got a second `response.in_progress` and the right text.
    """
    stored = running.client().get(f"/responses/{events[0]['response']['id']}").json()
    assert kinds(events)[-1] == stored["status"] == "completed"
    assert text_of(events) == output_text(stored)
    assert numbers(events) == sorted(set(numbers(events)))
    assert (kinds(events).count("created"), kinds(events).count("in_progress")) == (1, 2)
    assert running.model.stats()["started"][stored["id"]] == 2


BREAKS = {
    "between frames": {"stream_drop_after": 8},
    "inside a frame": {"stream_drop_after": 8, "stream_cut_inside": True},
    "an event that is no JSON": {"stream_malformed_at": 8},
}


@pytest.mark.parametrize("switches", BREAKS.values(), ids=BREAKS)
def test_a_stream_that_breaks_is_restarted(running: Service, client: httpx.Client, switches: dict[str, Any]) -> None:
    """The stream cannot be replayed, so readers drop what they have and read it from the start."""
    running.model.faults(**switches)
    with streaming(client) as stream:
        eventually(lambda: running.model.stats()["aborted"] == 1)
        running.model.faults(stream_drop_after=None, stream_malformed_at=None)
        check_begun_anew(running, list(stream))


def test_a_stream_that_always_breaks_is_given_up(running: Service, client: httpx.Client) -> None:
    """After three restarts the response fails as `upstream_lost`."""
    running.model.faults(stream_drop_after=8, stream_drops=100)
    events = streamed(client)
    assert kinds(events)[-2:] == ["error", "failed"]
    assert events[-1]["response"]["error"]["code"] == "upstream_lost"
    assert running.model.stats()["started"] == {events[0]["response"]["id"]: 4}


def test_a_holder_that_is_killed_is_replaced(running: Service, client: httpx.Client) -> None:
    """After kill -9 in the middle of a run, another process restarts the work.

    The reader continues, and a polled response calls back.
    """
    reader = Reader([client], "sim-3s", "killed")
    with reading([reader]):
        response = create(client, **running.with_callback(model="sim-3s"))
        eventually(lambda: "output_text.delta" in kinds(reader.events), 30)
        running.hosts[0].kill()
        running.hosts[0].start()
    check_begun_anew(running, reader.events)
    callback = running.receiver.first(response["id"])
    assert (callback["verified"], callback["type"]) == (True, "response.completed")
    assert finished(client, response)["status"] == "completed"
    assert running.model.stats()["started"][response["id"]] == 2
