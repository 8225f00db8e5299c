"""The webhook event about a terminal response: its shape, and its form in a queue message."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import orjson
import pytest
from openai.types.webhooks import ResponseCompletedWebhookEvent

from shared.contract.responses import (
    MAX_MESSAGE,
    encode,
    for_queue,
    present,
    stored_response,
    stored_text,
    webhook_event,
)
from shared.core import blobs
from shared.core.ids import event_id
from shared.core.records import Record, RequestInfo
from shared.core.states import Status, event_type

ID = "resp_0123456789abcdef0123456789abcdef"
BORN_MS = 1_800_000_000_000
ENDED_MS = BORN_MS + 5_678
NEW = Record(ID, "ann", BORN_MS, BORN_MS + 60_000, request=RequestInfo(store=True, background=True, model="sim-2s"))
TERMINAL = [status for status in Status if status.is_terminal]
ANSWER = {
    "id": "up_1",
    "model": "sim-2s",
    "error": {"code": "server_error", "message": "broken"},
    "incomplete_details": {"reason": "max_output_tokens"},
    "output": [
        {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "hello", "annotations": []}],
        }
    ],
    "usage": {"input_tokens": 3, "output_tokens": 4, "total_tokens": 7},
}


def ended(status: Status) -> Record:
    """Return a record that has ended with this status."""
    return replace(NEW, status=status, ended_ms=ENDED_MS)


def shown(status: Status, answer: Mapping[str, Any]) -> Any:
    """Return the object that a caller reads for a record that has ended with this status."""
    return orjson.loads(encode(present(ended(status), status, answer, {}, BORN_MS + 1_000)))


@pytest.mark.parametrize("masked", [True, False])
def test_a_stored_object_is_masked_if_its_version_did_not(masked: bool) -> None:
    """A stored object of an older version may have credentials. One of this version leaves as it is stored."""
    record = replace(NEW, request=replace(NEW.request, masked=masked))
    packed = blobs.pack({"id": ID, "tools": [{"type": "mcp", "authorization": "geheim"}]})
    found = orjson.loads(stored_text(record, packed))
    assert found == stored_response(record, packed)
    assert found == {"id": ID, "tools": [{"type": "mcp", "authorization": "geheim" if masked else "***"}]}


@pytest.mark.parametrize("status", TERMINAL)
def test_the_event_has_openais_shape_and_the_whole_object(status: Status) -> None:
    """A webhook event has the type of the status, a constant id, the time in both forms, and the whole object."""
    record = replace(NEW, status=status, ended_ms=ENDED_MS)
    response = shown(status, ANSWER)
    assert webhook_event(record, response) == {
        "id": event_id(ID, f"response.{status}"),
        "object": "event",
        "type": event_type(status),
        "created_at": 1_800_000_005,
        "timestamp": "2027-01-15T08:00:05.678Z",
        "data": response,
    }


def test_the_event_of_a_queued_request_has_the_senders_id() -> None:
    """The event repeats the correlation id that a queued request may carry. No other event has one."""
    record = ended(Status.COMPLETED)
    queued = replace(record, request=replace(record.request, correlation_id="order 7"))
    assert webhook_event(queued, {}) == {**webhook_event(record, {}), "correlation_id": "order 7"}
    assert "correlation_id" not in webhook_event(record, {})


def test_the_sdk_accepts_the_event() -> None:
    """The official type of the webhook accepts the event."""
    record = replace(NEW, status=Status.COMPLETED, ended_ms=ENDED_MS)
    read = ResponseCompletedWebhookEvent.model_validate(webhook_event(record, shown(Status.COMPLETED, ANSWER)))
    assert (read.type, read.data.id) == ("response.completed", ID)


@pytest.mark.parametrize("over", [0, 1])
def test_an_event_that_is_too_large_for_a_message_has_only_the_id(over: int) -> None:
    """An event of up to 48 KiB is sent whole. A larger one names the response, which the receiver then fetches."""
    record = replace(NEW, status=Status.COMPLETED, ended_ms=ENDED_MS)
    bare = webhook_event(record, {"id": ID, "object": "response", "text": ""})
    filler = "x" * (MAX_MESSAGE - len(encode(bare)) + over)
    whole = webhook_event(record, {"id": ID, "object": "response", "text": filler})
    text = for_queue(whole, encode(whole))
    assert len(text) <= MAX_MESSAGE
    truncated = {**whole, "data": {"id": ID, "object": "response"}, "truncated": True}
    assert orjson.loads(text) == (truncated if over else whole)
