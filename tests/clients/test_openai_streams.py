"""The official SDKs read our streams: two major versions for Python and one for Node, with every way to open a stream.

For each SDK, a separate program in tests/clients reports what it received, and the tests here check the report.
Heartbeats are sent between the events all the time.
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
from tests.support.peer_processes import Json
from tests.support.service_process import Service, output_text, service

REPORT_DEADLINE_S = 180
OPENAI_2 = ROOT / ".venv" / "openai-2"
CLIENTS = ROOT / "tests" / "clients"


@dataclass(frozen=True)
class Client:
    """An SDK: the command of its program, its expected major version, and the environment it is installed in."""

    name: str
    command: tuple[str, ...]
    major: str
    environment: str | None  # in addition to the main one, or None

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
    """Run one service for all clients. At the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("streams"), azurite.account(), STREAM_HEARTBEAT_S="0.05") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module", params=[PYTHON_3, PYTHON_2, NODE_7], ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> Client:
    """Return each SDK in turn. One that is not installed is skipped on a laptop and fails in CI."""
    client: Client = request.param
    if client.environment:
        need(client.environment)
    return client


@pytest.fixture(scope="module")
def report(client: Client, running: Service) -> Json:
    """Run an SDK's program once and return its report."""
    key = running.callers["first"].api_key
    command = [*client.command, f"{running.hosts[0].url}/openai/v1", key, "sim-2s"]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=REPORT_DEADLINE_S, check=False)
    assert ran.returncode == 0, ran.stderr
    report: Json = json.loads(ran.stdout)
    return report


def _events(section: Json) -> list[Json]:
    """Return the events of a section, in which the SDK must have raised nothing."""
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


def test_the_sdk_has_the_expected_major_version(client: Client, report: Json) -> None:
    """Each report comes from the major version in its client's name."""
    assert report["sdk"].partition(".")[0] == client.major


def test_a_live_stream_is_complete(client: Client, report: Json) -> None:
    """Numbers run from 0 without a gap, from `created` to `completed`. This also holds for a client that resumes."""
    for section in ("created", "foreground", "continued", *(["asynchronous"] if client.is_python else [])):
        events = _events(report[section])
        assert _numbers(events) == list(range(len(events))), section
        assert _types(events)[0] == "response.created"
        assert _types(events)[-1] == "response.completed"
        assert _text(events) == output_text(events[-1]["response"]) != ""
        assert events[0]["response"]["metadata"] == {"note": "one\u2028line"}


def test_the_streamed_text_is_the_stored_text(report: Json) -> None:
    """The joined deltas and the text of the terminal event equal the text of the response as retrieved later."""
    events = _events(report["created"])
    assert _text(events) == output_text(report["stored"]) != ""
    assert events[-1]["response"]["output"] == report["stored"]["output"]


def test_all_events_are_of_one_response(report: Json) -> None:
    """Every event that contains a response has the id that we gave to this response."""
    seen = {event["response"]["id"] for event in _events(report["created"]) if "response" in event}
    assert seen == {report["stored"]["id"]}
    assert report["stored"]["id"].startswith("resp_")


def test_every_event_has_its_own_token(report: Json) -> None:
    """The SDK returns the token of each event as an extra field. The token of the last event is null."""
    *others, last = [event["continuation_token"] for event in _events(report["created"])]
    assert last is None
    assert all(others)
    assert len(set(others)) == len(others)


def test_a_replay_is_the_same_stream(report: Json) -> None:
    """Without a cursor the stream is sent again from its first event, with every field the same."""
    assert _events(report["replayed"]) == _events(report["created"])


def test_a_stream_resumes_after_every_number(report: Json) -> None:
    """`starting_after=N` returns the events after N, with every field the same. After the last event there are none."""
    events = _events(report["created"])
    assert [_events(section) for section in report["after"]] == [events[n + 1 :] for n in range(len(events))]


@pytest.mark.parametrize("way", ["by_header", "by_token"])
def test_a_stream_resumes_after_a_token(report: Json, way: str) -> None:
    """A token as Last-Event-ID or in place of the response id returns the events after its own."""
    events = _events(report["created"])
    received = [_events(section) for section in report[way]]
    assert received == [events[n + 1 :] for n in range(0, len(events) - 1, 10)]
    assert len(received) > 2


def test_the_helper_accumulates_a_live_stream(report: Json) -> None:
    """`responses.stream(input=...)` returns every event, and a final response with the complete text."""
    events = _events(report["helper_created"])
    assert _numbers(events) == list(range(len(events)))
    assert report["helper_created"]["text"] == output_text(report["stored"])


def test_the_helper_accumulates_a_replay(report: Json) -> None:
    """`responses.stream(response_id=...)` returns the same events, and a final response with the complete text."""
    assert _outline(_events(report["helper"])) == _outline(_events(report["created"]))
    assert report["helper"]["text"] == output_text(report["stored"])


def test_the_helper_starts_after_a_number(report: Json) -> None:
    """With `starting_after` the helper returns only the later events, and still the complete text."""
    events = _outline(_events(report["created"]))
    received = [_outline(_events(section)) for section in report["helper_after"]]
    assert received == [events[n + 1 :] for n in range(0, len(events), 10)]
    assert {section["text"] for section in report["helper_after"]} == {output_text(report["stored"])}


def test_a_failure_reaches_the_caller(report: Json) -> None:
    """A failure is the two events `error` and `response.failed`.

    The frame of `error` has no `event:` field, because the Node SDK would raise an exception for one.
    """
    failed = report["failed"]
    message = "Simulated failure, as the model sim-fail-1s promises."
    assert _numbers(failed["events"]) == list(range(len(failed["events"])))
    error, last = _events(failed)[-2:]
    assert (error["type"], error["message"]) == ("error", message)
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    assert last["continuation_token"] is None


def test_the_helper_does_not_hide_a_failure(client: Client, report: Json) -> None:
    """The Python helper returns `response.failed` and no final response. The Node helper raises the error message."""
    failed = report["helper_failed"]
    if client.is_python:
        assert _types(failed["events"])[-1] == "response.failed"
        assert "Didn't receive a `response.completed` event" in failed["error"]
    else:
        assert failed["error"] == "Error: Simulated failure, as the model sim-fail-1s promises."
    assert failed["text"] is None


def test_a_cancel_ends_the_stream(report: Json) -> None:
    """An `error` and the cancelled response come last. The SDK raises nothing, because the `error` has no name."""
    events = _events(report["cancelled"])
    numbers = _numbers(events)
    assert numbers == sorted(set(numbers))
    assert "response.output_text.delta" in _types(events)
    assert "response.completed" not in _types(events)
    assert _types(events)[-2:] == ["error", "response.failed"]
    assert (events[-2]["code"], events[-1]["response"]["status"]) == ("response_cancelled", "cancelled")
    assert events[-1]["continuation_token"] is None


def _sent(text: str) -> tuple[list[str], list[Json]]:
    """Return the `id:` fields and the events in the text of a stream."""
    lines = text.split("\n")
    found = [line.removeprefix("id: ") for line in lines if line.startswith("id: ")]
    return found, [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]


def test_heartbeats_are_sent_and_ids_are_tokens(running: Service) -> None:
    """Heartbeats are comments of one line between events. The `id:` of an event is a token that resumes the stream."""
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
    """Return the numbers of the events that the newest Python SDK reads from these bytes."""
    answer = reply(200, "content-type: text/event-stream", body=body)
    async with (
        Receiver(answer) as server,
        openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{server.port}/v1", api_key="any", max_retries=0) as sdk,
    ):
        stream = await sdk.responses.create(model="any", input="any", stream=True)
        return [event.sequence_number async for event in stream]


async def test_a_blank_line_after_a_heartbeat_breaks_the_python_sdk() -> None:
    """After an `id:` the Python SDK makes an event of every blank line, and cannot parse one without data.

    This is why our heartbeat has no blank line. If this test fails at `raises`, the SDK has been fixed.
    """
    kind = "response.output_text.delta"
    frames = [sse.frame(kind, b'{"type":"%b","sequence_number":%d}' % (kind.encode(), n), f"ct_{n}") for n in range(2)]
    assert await _stream(sse.HEARTBEAT.join([b"", *frames, b""])) == [0, 1]
    with pytest.raises(json.JSONDecodeError):
        await _stream((sse.HEARTBEAT + b"\n").join(frames))
