"""The faults of the simulated model's streams, and what it counts of them."""

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from tests.support.peer_processes import Event, ModelPeer, error_of, eventually

TEXT = "The table is the truth. A message is a hint."


def until(error: type[Exception], stream: Iterator[Event]) -> list[Event]:
    """Return the events that arrive before the stream breaks with that error. Fail if it does not break."""
    seen: list[Event] = []
    with pytest.raises(error):
        seen.extend(stream)
    return seen


def numbers(events: list[Event]) -> list[int]:
    """Return the sequence numbers of the events."""
    return [event["sequence_number"] for event in events]


@pytest.mark.parametrize("count", [0, 1, 4, 12])
def test_a_stream_is_cut_after_its_events_and_can_be_resumed(model: ModelPeer, count: int) -> None:
    """The connection breaks after exactly the set number of events. The next stream of the response is complete."""
    whole = model.streamed("sim-events-3", background=True)
    model.faults(stream_drop_after=count, stream_drops=1)
    with model.replaying(whole[0]["response"]["id"]) as stream:
        assert until(httpx.RemoteProtocolError, stream) == whole[:count]
    assert model.replayed(whole[0]["response"]["id"], after=count - 1) == whole[count:]


def test_a_stream_is_cut_as_often_as_configured(model: ModelPeer) -> None:
    """Each of the first three connections of a response is cut after two events. This holds for every response."""
    model.faults(stream_drop_after=2, stream_drops=3)
    for _ in range(2):
        with model.streaming("sim-events-2", background=True) as stream:
            first = until(httpx.RemoteProtocolError, stream)
        for after in (1, 3):
            with model.replaying(first[0]["response"]["id"], after) as stream:
                assert numbers(until(httpx.RemoteProtocolError, stream)) == [after + 1, after + 2]
        assert numbers(model.replayed(first[0]["response"]["id"], after=5))[0] == 6


def test_a_stream_can_be_cut_inside_a_frame(model: ModelPeer) -> None:
    """Five whole frames arrive, and then half of the next one, however large it is.

    The cut loses none of the bytes sent.
    """
    model.faults(stream_drop_after=5, stream_cut_inside=True)
    body = {"model": "sim-blob-8mb", "stream": True, "background": True}
    chunks: list[bytes] = []
    with model.http.stream("POST", "/v1/responses", json=body) as answer, pytest.raises(httpx.RemoteProtocolError):
        chunks.extend(answer.iter_bytes())
    *whole, part = b"".join(chunks).split(b"\n\n")
    assert len(whole) == 5
    assert part.startswith(b"event: response.output_text.delta\ndata: {")
    assert 4 << 20 < len(part) < 5 << 20


def test_a_foreground_stream_that_is_cut_is_aborted(model: ModelPeer) -> None:
    """The server sees a client that disconnects.

    The work is stopped and counted as aborted, and its key starts a new response.
    """
    model.faults(stream_drop_after=2)
    body, key = {"model": "sim-60s", "stream": True}, {"idempotency-key": "k"}
    for _ in range(2):
        with pytest.raises(httpx.RemoteProtocolError):
            model.http.post("/v1/responses", json=body, headers=key)
    eventually(lambda: bool(model.stats()["aborted"] == 2))
    assert model.stats()["started"] == {"k": 2}


def test_an_event_can_be_broken_json(model: ModelPeer) -> None:
    """On the first two connections of a response, one event is malformed. On the third it is valid."""
    model.faults(stream_malformed_at=3, stream_malformed_times=2)
    with model.streaming("sim-events-2", background=True) as stream:
        first = until(json.JSONDecodeError, stream)
    assert numbers(first) == [0, 1, 2]
    with model.replaying(first[0]["response"]["id"], after=2) as stream:
        assert until(json.JSONDecodeError, stream) == []
    assert numbers(model.replayed(first[0]["response"]["id"], after=2))[0] == 3


def test_a_broken_event_is_a_whole_frame(model: ModelPeer) -> None:
    """The frames before and after the malformed one are valid, and the stream continues to its end."""
    model.faults(stream_malformed_at=1)
    frames = model.http.post("/v1/responses", json={"model": "sim-instant", "stream": True}).text.split("\n\n")
    assert frames[-1] == ""
    assert frames[1].startswith("event: response.in_progress\ndata: {")
    assert frames[-2].startswith("event: response.completed\ndata: {")


def test_a_stream_can_stall(model: ModelPeer) -> None:
    """After three events no more arrive, and the connection stays open. The next connection is complete."""
    model.faults(stream_stall_after=3)
    body = {"model": "sim-instant", "stream": True, "background": True}
    with model.http.stream("POST", "/v1/responses", json=body, timeout=1) as answer:
        lines = answer.iter_lines()
        received = [next(lines) for _ in range(9)]
        assert model.stats()["open_streams"] == 1
        with pytest.raises(httpx.ReadTimeout):
            next(lines)
    eventually(lambda: bool(model.stats()["open_streams"] == 0))
    first = json.loads(received[1].removeprefix("data: "))
    assert numbers(model.replayed(first["response"]["id"], after=2))[0] == 3


def test_an_old_stream_cannot_be_replayed(model: ModelPeer) -> None:
    """After the replay window, a replay is answered with 400. The response itself can still be retrieved."""
    response_id = model.streamed("sim-instant", background=True)[0]["response"]["id"]
    model.faults(replay_window_s=0)
    refused = model.http.get(f"/v1/responses/{response_id}?stream=true")
    assert error_of(refused) == (400, "stream", None)
    expected = "This response can no longer be streamed because it is more than 0 seconds old."
    assert refused.json()["error"]["message"] == expected
    assert model.get(response_id).json()["status"] == "completed"


def test_a_keepalive_takes_a_number(model: ModelPeer) -> None:
    """`keepalive` events fill a silence and have sequence numbers.

    A replay repeats them, even if the switch is off by then.
    """
    model.faults(keepalive_s=0.1)
    begin = time.monotonic()
    with model.streaming("sim-silent-0.55s", background=True) as stream:
        seen = [next(stream) for _ in range(8)]
        assert time.monotonic() - begin > 0.4
        seen += stream
    assert seen[3:8] == [{"type": "keepalive", "sequence_number": n} for n in range(3, 8)]
    assert numbers(seen) == list(range(len(seen)))
    assert all(event["type"] != "keepalive" for event in seen[8:])
    model.faults(keepalive_s=None)
    assert model.replayed(seen[0]["response"]["id"]) == seen


def test_the_stream_parameter_can_be_ignored(model: ModelPeer) -> None:
    """With `ignore_stream`, the answer is JSON, and there is no stream to replay."""
    model.faults(ignore_stream=True)
    for background in (True, False):
        answer = model.create("sim-instant", stream=True, background=background)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["status"] == "completed"
        refused = model.http.get(f"/v1/responses/{answer.json()['id']}?stream=true")
        assert error_of(refused) == (400, "stream", None)
    assert model.stats()["streams"] == 0


def test_a_server_can_lack_background_support(model: ModelPeer) -> None:
    """With `no_background`, background create calls are answered with 400, and so are replays, even of older streams.

    A finished response can be retrieved.
    """
    older = model.streamed("sim-instant", background=True)[0]["response"]["id"]
    model.faults(no_background=True)
    assert error_of(model.create("sim-instant")) == (400, "background", "unsupported_parameter")
    finished = model.streamed("sim-instant")[-1]["response"]
    for response_id in (older, finished["id"]):
        assert error_of(model.http.get(f"/v1/responses/{response_id}?stream=true")) == (400, "stream", None)
    assert model.get(finished["id"]).json() == finished


def test_unfinished_responses_can_be_forgotten(model: ModelPeer) -> None:
    """A forgotten response stays unknown to every call, and its key starts a new one. Finished responses are kept."""
    running = model.create_with_key("k").json()["id"]
    finished = model.create("sim-instant").json()["id"]
    model.faults(forget_unfinished=True)
    assert model.get(running).status_code == model.get(f"{running}?stream=true").status_code == 404
    assert model.http.post(f"/v1/responses/{running}/cancel").status_code == 404
    assert model.get(finished).status_code == 200
    model.faults(forget_unfinished=False)
    assert model.get(running).status_code == 404
    assert model.create_with_key("k").json()["id"] != running
    assert model.stats()["started"]["k"] == 2


def test_streams_are_counted(model: ModelPeer) -> None:
    """Streamed creates, replays and open streams have separate counts. A refused replay does not count as one."""
    with model.streaming("sim-60s", background=True) as stream:
        response_id = next(stream)["response"]["id"]
        with model.replaying(response_id) as replay:
            next(replay)
            counted = model.stats()
    model.http.get("/v1/responses/resp_x?stream=true")
    names = ("streams", "replays", "open_streams", "creates", "retrieves")
    assert [counted[name] for name in names] == [1, 1, 2, 1, 1]
    eventually(lambda: bool(model.stats()["open_streams"] == 0))
    assert (model.stats()["replays"], model.stats()["retrieves"]) == (1, 2)


def test_the_start_times_are_listed(model: ModelPeer) -> None:
    """The start of a response is listed by its idempotency key, in unix seconds.

    A repeated create call does not change it.
    """
    before = time.time()
    model.create_with_key("k")
    begun = model.http.get("/_sim/starts").json()
    assert begun.keys() == {"k"}
    assert before - 0.02 <= begun["k"] <= time.time() + 0.02
    model.create_with_key("k")
    assert model.http.get("/_sim/starts").json() == begun


@pytest.mark.parametrize("switches", [{"stream_drop_after": -1}, {"keepalive_s": 0}, {"replay_window_s": "soon"}])
def test_a_stream_switch_out_of_range_is_refused(model: ModelPeer, switches: dict[str, object]) -> None:
    """An invalid value of a stream switch is answered with 400."""
    assert model.http.post("/_sim/faults", json=switches).status_code == 400
