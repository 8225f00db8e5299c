"""The official SDKs read our streams: two majors for Python and one for Node, each over every way to open a stream.

What an SDK gave is told by a program of its own in tests/clients; here stands what it ought to be. Heartbeats flow
between the events all the time.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass

import openai
import pytest

from local.azurite import Azurite
from local.stack.process import ROOT
from shared.contract import sse
from tests.support.callback_receivers import Receiver, reply
from tests.support.environments import need
from tests.support.service_process import Json, Service, output_text, service

REPORT_DEADLINE_S = 180
OPENAI_2 = ROOT / ".venv" / "openai-2"
CLIENTS = ROOT / "tests" / "clients"


@dataclass(frozen=True)
class Client:
    """An SDK: how its program is run, the major it must be, and the environment it is installed in."""

    name: str
    command: tuple[str, ...]
    major: str
    environment: str | None  # that it needs besides this one

    @property
    def is_python(self) -> bool:
        """Whether it is one of the SDKs for Python."""
        return self.name.startswith("python")


PYTHON_3 = Client("python-3", (sys.executable, str(CLIENTS / "matrix.py")), "3", None)
PYTHON_2 = Client(
    "python-2",
    (str(OPENAI_2 / "bin" / "python"), str(CLIENTS / "matrix.py")),
    "2",
    "openai-2",
)
NODE_7 = Client("node-7", ("node", str(CLIENTS / "matrix.mjs")), "7", "node-clients")


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all clients; by the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("streams"), azurite.account(), STREAM_HEARTBEAT_S="0.05") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module", params=[PYTHON_3, PYTHON_2, NODE_7], ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    """Give each SDK in turn; one that is not installed is skipped on a laptop, and fails in CI."""
    client: Client = request.param
    if client.environment:
        need(client.environment)
    return client


@pytest.fixture(scope="module")
def report(client: Client, running: Service) -> Json:
    """Run a client's program once and give its report."""
    key = running.callers["first"].api_key
    command = [*client.command, f"{running.hosts[0].url}/openai/v1", key, "sim-2s"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=REPORT_DEADLINE_S, check=False)
    assert ran.returncode == 0, ran.stderr
    report: Json = json.loads(ran.stdout)
    return report


def _events(section: Json) -> list[Json]:
    """Return the events of a section in which the SDK raised nothing."""
    assert section["error"] is None
    events: list[Json] = section["events"]
    return events


def _numbers(events: list[Json]) -> list[int]:
    return [event["sequence_number"] for event in events]


def _types(events: list[Json]) -> list[str]:
    return [event["type"] for event in events]


def _outline(events: list[Json]) -> list[tuple[int, str]]:
    return [(event["sequence_number"], event["type"]) for event in events]


def _text(events: list[Json]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


def test_the_sdk_is_the_one_meant(client: Client, report: Json) -> None:
    """Each report comes from the major that it is named for."""
    assert report["sdk"].partition(".")[0] == client.major


def test_a_live_stream_is_whole(client: Client, report: Json) -> None:
    """Numbers run from 0 without a gap, from `created` to `completed`; also when a client has left and come back."""
    for section in ("created", "foreground", "continued", *(["asynchronous"] if client.is_python else [])):
        events = _events(report[section])
        assert _numbers(events) == list(range(len(events))), section
        assert _types(events)[0] == "response.created"
        assert _types(events)[-1] == "response.completed"
        assert _text(events) == output_text(events[-1]["response"]) != ""
        assert events[0]["response"]["metadata"] == {"note": "one\u2028line"}


def test_the_text_is_the_stored_one(report: Json) -> None:
    """The deltas, joined, are the text of the response as it is retrieved afterwards; so is the terminal event's."""
    events = _events(report["created"])
    assert _text(events) == output_text(report["stored"]) != ""
    assert events[-1]["response"]["output"] == report["stored"]["output"]


def test_all_events_are_of_one_response(report: Json) -> None:
    """Every event that carries a response carries ours, by our id."""
    seen = {event["response"]["id"] for event in _events(report["created"]) if "response" in event}
    assert seen == {report["stored"]["id"]}
    assert report["stored"]["id"].startswith("resp_")


def test_every_event_has_a_token_of_its_own(report: Json) -> None:
    """The SDK passes it on as an extra field; the last event has one too, and it is null."""
    *others, last = [event["continuation_token"] for event in _events(report["created"])]
    assert last is None
    assert all(others)
    assert len(set(others)) == len(others)


def test_a_replay_is_the_same_stream(report: Json) -> None:
    """Without a cursor the stream is told again from its first event on, every field the same."""
    assert _events(report["replayed"]) == _events(report["created"])


def test_resume_after_every_number(report: Json) -> None:
    """`starting_after=N` gives what came after N, every field the same; after the last event, nothing."""
    events = _events(report["created"])
    assert [_events(section) for section in report["after"]] == [events[n + 1 :] for n in range(len(events))]


@pytest.mark.parametrize("way", ["by_header", "by_token"])
def test_resume_after_a_token(report: Json, way: str) -> None:
    """A token as Last-Event-ID, or in place of the id, gives what came after its event."""
    events = _events(report["created"])
    received = [_events(section) for section in report[way]]
    assert received == [events[n + 1 :] for n in range(0, len(events) - 1, 10)]
    assert len(received) > 2


def test_the_helper_accumulates_a_live_stream(report: Json) -> None:
    """`responses.stream(input=...)` gives every event, and a final response with the whole text."""
    events = _events(report["helper_created"])
    assert _numbers(events) == list(range(len(events)))
    assert report["helper_created"]["text"] == output_text(report["stored"])


def test_the_helper_accumulates_a_replay(report: Json) -> None:
    """`responses.stream(response_id=...)` gives the same events, and a final response with the whole text."""
    assert _outline(_events(report["helper"])) == _outline(_events(report["created"]))
    assert report["helper"]["text"] == output_text(report["stored"])


def test_the_helper_starts_after_a_number(report: Json) -> None:
    """With `starting_after` it shows only the events above, and still knows the whole text."""
    events = _outline(_events(report["created"]))
    received = [_outline(_events(section)) for section in report["helper_after"]]
    assert received == [events[n + 1 :] for n in range(0, len(events), 10)]
    assert {section["text"] for section in report["helper_after"]} == {output_text(report["stored"])}


def test_a_failure_reaches_the_caller(report: Json) -> None:
    """The events `error` and `response.failed`, the first without a type of its frame: Node would raise at one."""
    failed = report["failed"]
    message = "Simulated failure, as the model sim-fail-1s promises."
    assert _numbers(failed["events"]) == list(range(len(failed["events"])))
    error, last = _events(failed)[-2:]
    assert (error["type"], error["message"]) == ("error", message)
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["continuation_token"] is None


def test_the_helper_does_not_hide_a_failure(client: Client, report: Json) -> None:
    """Python's shows `response.failed` and has no final response to give; Node's raises with the message."""
    failed = report["helper_failed"]
    if client.is_python:
        assert _types(failed["events"])[-1] == "response.failed"
        assert "Didn't receive a `response.completed` event" in failed["error"]
    else:
        assert failed["error"] == "Error: Simulated failure, as the model sim-fail-1s promises."
    assert failed["text"] is None


def test_a_cancel_ends_the_stream(report: Json) -> None:
    """The last event, with the highest number, tells of a response that is cancelled; the SDK raises nothing."""
    events = _events(report["cancelled"])
    numbers = _numbers(events)
    assert numbers == sorted(set(numbers))
    assert "response.output_text.delta" in _types(events)
    assert "response.completed" not in _types(events)
    assert (events[-1]["type"], events[-1]["response"]["status"]) == ("response.failed", "cancelled")
    assert events[-1]["continuation_token"] is None


def _sent(text: str) -> tuple[list[str], list[Json]]:
    """Return the ids and the events of a stream as it came over the wire."""
    lines = text.split("\n")
    found = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    return found, [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_heartbeats_flow_and_ids_are_tokens(running: Service) -> None:
    """On the wire: comments of one line between the events, and an `id:` from which a stream can be resumed."""
    caller = running.client()
    body = {"model": "sim-2s", "input": "One. Two.", "stream": True, "background": True}
    text = caller.post("/responses", json=body).text
    assert text.count("\n: heartbeat\n") >= 5
    assert ": heartbeat\n\n" not in text

    ids, events = _sent(text)
    assert ids == [event["continuation_token"] for event in events[:-1]]
    path = f"/responses/{events[0]['response']['id']}"
    for number in range(0, len(ids), 10):
        resumed = caller.get(path, params={"stream": "true"}, headers={"Last-Event-ID": ids[number]})
        assert _sent(resumed.text) == (ids[number + 1 :], events[number + 1 :])


async def _stream(body: bytes) -> list[int]:
    """Return the numbers of the events that the newest SDK for Python reads from these bytes."""
    answer = reply(200, "content-type: text/event-stream", body=body)
    async with (
        Receiver(answer) as server,
        openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="any", max_retries=0) as sdk,
    ):
        stream = await sdk.responses.create(model="any", input="any", stream=True)
        return [event.sequence_number async for event in stream]


async def test_why_a_heartbeat_has_no_blank_line() -> None:
    """After an `id:` the SDK for Python makes an event of every blank line, and cannot read one without data.

    If this fails at `raises`, the SDK has been repaired.
    """
    kind = "response.output_text.delta"
    frames = [sse.frame(kind, b'{"type":"%b","sequence_number":%d}' % (kind.encode(), n), f"ct_{n}") for n in range(2)]
    assert await _stream(sse.HEARTBEAT.join([b"", *frames, b""])) == [0, 1]
    with pytest.raises(json.JSONDecodeError):
        await _stream((sse.HEARTBEAT + b"\n").join(frames))
