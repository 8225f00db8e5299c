"""The events of a stream: how upstream events are translated, how a stream ends, and the frames on the wire."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract import responses, stream_events
from shared.contract.upstream_events import end_of, status_after
from shared.core import states
from shared.core.event_log import Event
from shared.core.ids import read_token
from shared.core.records import Record, RequestInfo
from shared.core.states import Status

ID = "resp_0123456789abcdef0123456789abcdef"
RECORD = Record(
    ID, "ann", created_ms=1_800_000_000_000, deadline_ms=1_800_000_060_000, request=RequestInfo(store=True, stream=True)
)
BASE = {"model": "m", "temperature": 0.2}
DELTA = {"type": "response.output_text.delta", "delta": "a", "item_id": "msg_1", "output_index": 0}
MESSAGE = {"type": "message", "id": "msg_1", "content": [{"type": "output_text", "text": "hello"}]}
TERMINAL = [status for status in Status if status.is_terminal]


def decoded(event: Event | None) -> dict[str, Any]:
    """Return the object of an event."""
    assert event
    found: dict[str, Any] = orjson.loads(event.body)
    assert found["type"] == event.kind
    return found


def translated(sent: dict[str, Any], told: Status | None = None) -> Event | None:
    """Return the event that callers see for an upstream's event, or None."""
    return stream_events.translated(RECORD, BASE, sent, told=told)


def frames(first: int, shown: list[Event], *, ends: bool = False) -> list[dict[str, str]]:
    """Return the fields of each frame."""
    *found, rest = stream_events.frames(ID, first, shown, ends=ends).decode().split("\n\n")
    assert rest == ""
    return [dict(line.split(": ", 1) for line in frame.split("\n")) for frame in found]


def ended(status: Status) -> tuple[Event, ...]:
    """Return the events that end a stream with this status."""
    answer: Mapping[str, Any] = responses.failure("server_error", "Broken.") if status is Status.FAILED else {}
    record = replace(RECORD, status=status, ended_ms=RECORD.created_ms)
    return stream_events.terminal_events(status, responses.present(record, status, answer, BASE, 0))


def test_the_first_event_shows_the_response_as_accepted() -> None:
    """The first event is made by this service. It has our id, the status `queued` and the settings of the request."""
    shown = decoded(stream_events.created_event(RECORD, BASE))
    assert (shown["type"], shown["response"]["id"]) == ("response.created", ID)
    assert (shown["response"]["status"], shown["response"]["temperature"]) == ("queued", 0.2)


def test_an_event_passes_unchanged_except_for_number_and_token() -> None:
    """Unknown events and unknown fields pass, too. The number and the token are ours."""
    sent = {**DELTA, "sequence_number": 7, "continuation_token": "theirs", "obfuscation": "x"}
    assert decoded(translated(sent)) == {**DELTA, "obfuscation": "x"}
    assert decoded(translated({"type": "response.new_thing.v2", "x": [1]})) == {
        "type": "response.new_thing.v2",
        "x": [1],
    }


@pytest.mark.parametrize("kind", ["response.queued", "response.in_progress"])
def test_a_progress_event_shows_our_response(kind: str) -> None:
    """The response in the event has our id, and the status that the event's type gives."""
    sent = {"type": kind, "response": {"id": "up_1", "status": "completed", "instructions": "brief"}}
    shown = decoded(translated(sent))["response"]
    assert (shown["id"], shown["status"]) == (ID, kind.removeprefix("response."))
    assert (shown["instructions"], shown["temperature"]) == ("brief", 0.2)


@pytest.mark.parametrize("kind", ["response.created", "error", "keepalive", "ping", "response.keep_alive"])
def test_events_that_are_not_for_callers_are_hidden(kind: str) -> None:
    """Callers do not see the upstream's `created`, `error` and keepalives.

    We send our own `created`, the end of the stream reports an error, and keepalives break clients.
    """
    assert translated({"type": kind}) is None


@pytest.mark.parametrize("kind", ["acme:trace_event", "acme:ping", "response.mcp_call.In-Progress", "é"])
def test_a_providers_own_events_pass(kind: str) -> None:
    """Open Responses lets providers add events. Their names have a colon."""
    sent = {"type": kind, "latency_ms": 143, "sequence_number": 9}
    assert decoded(translated(sent)) == {"type": kind, "latency_ms": 143}


@pytest.mark.parametrize("kind", [None, 5, "", "a b", "a\nb", "Ping", "x" * 201, "a\u2028b"])
def test_an_event_without_a_usable_type_is_hidden(kind: object) -> None:
    """An event without a valid type is a heartbeat of a gateway, or would break a frame."""
    assert translated({"type": kind}) is None


@pytest.mark.parametrize(
    ("told", "shown"),
    [
        (None, ["response.queued", "response.in_progress"]),
        (Status.QUEUED, ["response.in_progress"]),
        (Status.IN_PROGRESS, []),
    ],
)
def test_an_opening_event_is_told_once(told: Status | None, shown: list[str]) -> None:
    """A second `in_progress` makes readers discard what they have, so a repeated one is a heartbeat.

    Readers of restarted work already know of the restart. No status is told after a later one.
    """
    opening = ("response.created", "response.queued", "response.in_progress")
    assert [kind for kind in opening if translated({"type": kind, "response": {}}, told)] == shown
    assert decoded(translated(DELTA, told)) == DELTA
    assert decoded(stream_events.restart_event(RECORD, BASE))["response"]["output"] == []


@given(
    st.dictionaries(
        st.sampled_from(["type", "response", "sequence_number", "delta", "error"]),
        st.none() | st.integers(-9, 9) | st.sampled_from(["response.queued", "response.completed", "x.y", "\n"])
        | st.dictionaries(st.sampled_from(["id", "status", "output", "error"]), st.none() | st.text(max_size=2)),
    )
)  # fmt: skip
def test_no_event_of_an_upstream_raises(sent: dict[str, Any]) -> None:
    """Any event becomes one line of JSON with our number, or is hidden."""
    end_of(sent)
    assert status_after(sent) in (Status.QUEUED, Status.IN_PROGRESS)
    if event := translated(sent):
        assert b"\n" not in event.body
        (fields,) = frames(3, [event])
        assert orjson.loads(fields["data"])["sequence_number"] == 3


@pytest.mark.parametrize("status", TERMINAL)
def test_a_stream_ends_with_its_response(status: Status) -> None:
    """The last event has the final object. If the response failed or was cancelled, an `error` comes before it."""
    shown = [decoded(event) for event in ended(status)]
    kind = "failed" if status is Status.CANCELLED else status.value
    assert shown[-1]["type"] == f"response.{kind}"
    assert shown[-1]["response"]["status"] == status
    assert len(shown) == states.terminal_count(status) == 1 + (status in (Status.FAILED, Status.CANCELLED))
    if status is Status.CANCELLED:
        assert (shown[0]["type"], shown[0]["code"]) == ("error", "response_cancelled")
    if status is Status.FAILED:
        assert shown[0] == {"type": "error", "code": "server_error", "message": "Broken.", "param": None}


@pytest.mark.parametrize("status", TERMINAL)
def test_only_the_last_event_has_no_token(status: Status) -> None:
    """The last event has no `id:` field either, so no client resumes after it.

    Any other token names its own position.
    """
    found = frames(4, [*ended(status)], ends=True)
    assert [orjson.loads(fields["data"])["continuation_token"] for fields in found][-1] is None
    assert "id" not in found[-1]
    for number, fields in enumerate(found[:-1], 4):
        cursor = read_token(fields["id"])
        assert cursor is not None
        assert (cursor.id, cursor.after) == (ID, number)


def test_a_frame_has_token_type_and_numbered_data() -> None:
    """The `id:` field is the token in the data. The numbers are consecutive."""
    found = frames(7, [Event("x.y", b'{"type":"x.y"}')] * 2)
    for number, fields in enumerate(found, 7):
        data = orjson.loads(fields["data"])
        assert data == {"type": "x.y", "sequence_number": number, "continuation_token": fields["id"]}
        assert fields["event"] == "x.y"


def test_the_frame_of_an_error_has_no_event_field() -> None:
    """openai-node would stop reading at an `event: error` field, before the terminal event."""
    first, last = frames(0, [*ended(Status.FAILED)], ends=True)
    assert "event" not in first
    assert last["event"] == "response.failed"


def test_a_finished_output_is_synthesized_from_the_start() -> None:
    """A first `in_progress` without output tells readers to discard what they have. The events of the output follow."""
    first, *rest = stream_events.synthesized(RECORD, {"id": ID, "status": "completed", "output": [MESSAGE]})
    assert (decoded(first)["type"], decoded(first)["response"]["output"]) == ("response.in_progress", [])
    assert "hello" in [decoded(event).get("delta") for event in rest]
    assert decoded(rest[-1])["type"] == "response.output_item.done"


@pytest.mark.parametrize("masked", [True, False])
def test_a_stored_event_is_masked_if_its_version_did_not(masked: bool) -> None:
    """A stored event of an older version may have credentials. One of this version is sent as it is stored."""
    record = replace(RECORD, request=replace(RECORD.request, masked=masked))
    event = Event("acme.tools", b'{"type":"acme.tools","tools":[{"type":"mcp","authorization":"geheim"}]}')
    (found,) = stream_events.stored_events(record, (event,))
    assert found == replace(event, body=event.body if masked else event.body.replace(b"geheim", b"***"))


def test_an_interruption_is_an_error_without_a_number() -> None:
    """So a client resumes after the event before it. It has no name, because openai-node stops reading at that."""
    frame = stream_events.interruption()
    assert frame.startswith(b"data: ")
    told = orjson.loads(frame.removeprefix(b"data: "))
    assert (told["type"], told["code"], told["param"]) == ("error", "interrupted", None)
    assert "sequence_number" not in told
