"""The events of the document are those of OpenAI's SDK, and those that the service makes."""

from typing import Any, get_args

import orjson
import pytest
from openai.types import webhooks
from openai.types.responses import ResponseStreamEvent
from pydantic import BaseModel

from shared.contract import responses, stream_events
from shared.contract.requests import EVENTS
from shared.contract.synthesized_events import output_events
from shared.core.ids import token_for
from shared.core.records import Record, RequestInfo
from shared.core.states import Status
from tests.support.described_api import DOCUMENT, SCHEMAS, check, faults_in, resolved

ID = "resp_0123456789abcdef0123456789abcdef"
RECORD = Record(ID, "ann", 1_800_000_000_000, 1_800_000_060_000, request=RequestInfo(model="m", masked=True))
OUTPUT: list[dict[str, Any]] = [
    {"id": "rs_1", "type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
    {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [
            {"type": "output_text", "text": "Hi.", "annotations": [{"type": "file_path", "file_id": "f", "index": 0}]},
            {"type": "refusal", "refusal": "No."},
        ],
    },
    {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}", "status": "completed"},
]
OURS = {"sequence_number", "continuation_token"}
CLASSES: dict[str, type[BaseModel]] = {
    get_args(kind.model_fields["type"].annotation)[0]: kind for kind in get_args(get_args(ResponseStreamEvent)[0])
}
KINDS = {str: "string", int: "integer", float: "number"}


def event_schema(kind: str) -> dict[str, Any]:
    """Return the schema that the discriminator names for a type of event."""
    mapping = SCHEMAS["StreamEvent"]["discriminator"]["mapping"]
    return resolved({"$ref": mapping[kind]})


def test_the_types_are_those_of_the_sdk() -> None:
    """Each of the SDK's has a schema, and the reverse. Other events of an upstream have one in common."""
    mapping = SCHEMAS["StreamEvent"]["discriminator"]["mapping"]
    assert mapping.keys() == CLASSES.keys()
    listed = {one["$ref"] for one in SCHEMAS["StreamEvent"]["oneOf"]}
    assert listed == {*mapping.values(), "#/components/schemas/OtherStreamEvent"}
    assert {*SCHEMAS["OtherStreamEvent"]["properties"]["type"]["not"]["enum"]} == mapping.keys()


@pytest.mark.parametrize("kind", CLASSES)
def test_the_fields_of_an_event_are_those_of_the_sdk(kind: str) -> None:
    """What the SDK requires is always there, with the same type, and what is there the SDK knows."""
    fields, schema = CLASSES[kind].model_fields, event_schema(kind)
    needed = {name for name, field in fields.items() if field.is_required()}
    own = {"continuation_token"} | ({"name"} if kind == "response.function_call_arguments.done" else set())
    assert schema["properties"].keys() - own <= fields.keys()
    numberless = {"sequence_number"} if kind == "error" else set()
    assert needed - numberless <= set(schema["required"])
    for name, field in fields.items():
        if field.annotation in KINDS:
            assert schema["properties"][name]["type"] == KINDS[field.annotation], name


def test_the_events_of_a_finished_output_are_as_documented() -> None:
    """Those that are made for readers whom the upstream's own events did not reach. The SDK reads them, too."""
    base = {"model": "m"}
    events = [stream_events.created_event(RECORD, base), stream_events.restart_event(RECORD, base)]
    texts = [*(one.body for one in events), *map(orjson.dumps, output_events(OUTPUT))]
    kinds = set()
    for number, text in enumerate(texts):
        event = {**orjson.loads(text), "sequence_number": number, "continuation_token": token_for(ID, number)}
        check("StreamEvent", event, closed=event["type"] != "response.function_call_arguments.done")
        CLASSES[event["type"]].model_validate(event)
        kinds.add(event["type"])
    assert len(kinds) > 15


@pytest.mark.parametrize("status", [status for status in Status if status.is_terminal])
def test_the_end_of_a_stream_is_as_documented(status: Status) -> None:
    """Also a failure and a cancellation, which have two events. The last one has no token."""
    failed = dict(responses.failure("server_error", "No."))
    shown = responses.present(RECORD, status, failed if status is Status.FAILED else {}, {}, 1_800_000_001_000)
    told = stream_events.frames(ID, 7, stream_events.terminal_events(status, shown), ends=True).decode()
    lines = [line.removeprefix("data: ") for line in told.splitlines() if line.startswith("data: ")]
    for line in lines:
        check("StreamEvent", orjson.loads(line))
    assert orjson.loads(lines[-1])["continuation_token"] is None


def test_the_event_of_a_cut_is_as_documented() -> None:
    """It has neither a number nor a token."""
    event = orjson.loads(stream_events.interruption().partition(b"data: ")[2])
    check("StreamEvent", event)
    assert event.keys() & OURS == set()


def test_an_event_of_an_upstream_that_the_sdk_does_not_know_is_as_documented() -> None:
    """It has a type, a number and a token. Without them it is none."""
    event = {"type": "acme:trace", "sequence_number": 1, "continuation_token": None, "more": 1}
    check("StreamEvent", event, closed=False)
    assert faults_in({"$ref": "#/components/schemas/StreamEvent"}, {**event, "sequence_number": None})


@pytest.mark.parametrize("kind", EVENTS)
def test_the_event_of_a_callback_is_as_documented(kind: str) -> None:
    """It is one of the document's webhooks, and the SDK's type of this event reads it."""
    status = Status(kind.removeprefix("response."))
    ended = Record(ID, "ann", 1_800_000_000_000, 1_800_000_060_000, status=status, ended_ms=1_800_000_001_000)
    shown = responses.present(ended, status, {}, {"model": "m"}, 0)
    event = responses.webhook_event(ended, shown)
    described = DOCUMENT["webhooks"][kind]["post"]
    schema = described["requestBody"]["content"]["application/json"]["schema"]
    assert faults_in(schema, event, closed=True) == []
    assert faults_in(schema, {**event, "type": "response.done"}) != []
    text = responses.encode({**event, "correlation_id": "7"})
    check("WebhookEvent", orjson.loads(responses.for_queue(event, text)))
    known = getattr(webhooks, f"Response{status.capitalize()}WebhookEvent")
    assert known.model_validate(orjson.loads(responses.encode(event))).type == kind
    assert {name for name, field in known.model_fields.items() if field.is_required()} <= {
        *SCHEMAS["WebhookEvent"]["required"]
    }
