"""The simulated model, over HTTP and through the OpenAI SDK."""

import json
import re
from typing import Any

import httpx
import openai
import pytest

from tests.support.peer_processes import ModelPeer, error_of, eventually

TEXT = (
    "The table is the truth about every response. Lunch was fine. A message is only a hint about the table. "
    "Losing a message never loses a response, because the table still holds the truth. It rained. "
    "Birds sang. A sweep reads the table and repeats what the message should have said."
)
FIELDS = frozenset(
    re.findall(
        r"\w+",
        """
    id object created_at model output error incomplete_details instructions metadata
    parallel_tool_calls temperature top_p tool_choice tools status completed_at previous_response_id
    truncation text presence_penalty frequency_penalty top_logprobs reasoning usage
    max_output_tokens max_tool_calls store background service_tier safety_identifier
    prompt_cache_key
        """,
    )
)
WEATHER = {
    "type": "function",
    "name": "get_weather",
    "parameters": {
        "type": "object",
        "properties": {
            "place": {"type": "string"},
            "unit": {"enum": ["celsius", "kelvin"]},
            "days": {"type": "integer", "minimum": 3},
            "hint": {"type": "string"},
        },
        "required": ["place", "unit", "days"],
    },
}


def text_of(response: dict[str, Any]) -> str:
    """Return the text of the first output item."""
    text: str = response["output"][0]["content"][0]["text"]
    return text


def test_the_sdk_polls_a_background_response_to_its_end(model: ModelPeer) -> None:
    """A background response is queued in the create answer, then in progress, then completed."""
    response = model.sdk.responses.create(model="sim-0.5s", input=TEXT, background=True)
    seen = [response.status]
    while response.status in {"queued", "in_progress"}:
        response = model.sdk.responses.retrieve(response.id)
        seen += [] if response.status == seen[-1] else [response.status]
    assert seen == ["queued", "in_progress", "completed"]
    assert "simulated by sim-0.5s" in response.output_text
    assert response.usage is not None
    assert response.usage.input_tokens == len(TEXT.split())
    assert response.usage.output_tokens == len(response.output_text.split())


def test_the_sdk_waits_for_a_response_in_the_foreground(model: ModelPeer) -> None:
    """Without `background`, the create answer is the finished response, which can be retrieved afterwards."""
    response = model.sdk.responses.create(model="sim-0.1s", input=TEXT)
    assert response.status == "completed"
    assert model.sdk.responses.retrieve(response.id) == response


def test_the_sdk_cancels_and_deletes(model: ModelPeer) -> None:
    """A running response is cancelled, a second cancel changes nothing, and a deleted one is not found."""
    response = model.sdk.responses.create(model="sim-60s", input=TEXT, background=True)
    cancelled = model.sdk.responses.cancel(response.id)
    assert (cancelled.status, cancelled.output) == ("cancelled", [])
    assert model.sdk.responses.cancel(response.id) == cancelled
    model.sdk.responses.delete(response.id)
    with pytest.raises(openai.NotFoundError, match=f"Response with id '{response.id}' not found."):
        model.sdk.responses.retrieve(response.id)


def test_the_sdk_lists_input_items(model: ModelPeer) -> None:
    """Input items come newest first, in pages that the SDK follows."""
    given = [{"role": "user", "content": text} for text in ("first", "second", "third")]
    response_id = model.create("sim-instant", input=given).json()["id"]
    items = model.sdk.responses.input_items.list(response_id, limit=2)
    listed = [item.to_dict()["content"] for item in items]
    assert listed == [[{"type": "input_text", "text": text}] for text in ("third", "second", "first")]


@pytest.mark.parametrize("name", ["sim-60s", "sim-instant", "sim-fail-0s", "sim-incomplete-0s"])
def test_every_response_has_every_field(model: ModelPeer, name: str) -> None:
    """Every field is present in every status, and the fields of the request are echoed."""
    asked = {"metadata": {"a": "b"}, "text": {"format": {"type": "json_schema"}}, "instructions": "Be brief."}
    response = model.create(name, input=TEXT, **asked).json()
    assert response.keys() >= FIELDS
    assert {name: response[name] for name in asked} == asked


def test_an_instant_response_is_complete_in_the_create_answer(model: ModelPeer) -> None:
    """`sim-instant` is terminal at once, also in the background."""
    response = model.create("sim-instant", input=TEXT).json()
    assert (response["status"], response["background"]) == ("completed", True)
    assert response["completed_at"] >= response["created_at"]


def test_a_failing_model_ends_failed(model: ModelPeer) -> None:
    """`sim-fail` ends with an error and without output."""
    response = model.finished("sim-fail-0.05s", input=TEXT)
    assert (response["status"], response["error"]["code"], response["output"]) == (
        "failed",
        "server_error",
        [],
    )


def test_an_incomplete_model_ends_with_half_an_answer(model: ModelPeer) -> None:
    """`sim-incomplete` ends with the first half of the text that `sim` with the same duration returns."""
    response = model.finished("sim-incomplete-0.05s", input=TEXT)
    assert response["status"] == response["output"][0]["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert 0 < len(text_of(response)) < len(text_of(model.finished("sim-0.05s", input=TEXT)))


def test_the_answer_is_made_from_the_input(model: ModelPeer) -> None:
    """The same input gives the same answer, and another input another one. A string is read like a message."""
    parts = [{"role": "user", "content": [{"type": "input_text", "text": TEXT}]}]
    one, same, other = (text_of(model.create("sim-instant", input=i).json()) for i in (TEXT, parts, "Cats purr."))
    assert one == same
    assert "A sweep reads the table" in one
    assert "1. Cats purr." in other


def test_a_chained_response_includes_the_earlier_turn(model: ModelPeer) -> None:
    """With `previous_response_id`, the answer is made from the earlier turn too."""
    first = model.create("sim-instant", input="Whales sing.").json()
    second = model.create("sim-instant", input="Cats purr.", previous_response_id=first["id"]).json()
    assert "1. Whales sing.\n2. Cats purr." in text_of(second)
    assert second["usage"]["input_tokens"] > first["usage"]["input_tokens"]


def test_a_tool_is_called_and_its_output_is_used(model: ModelPeer) -> None:
    """`sim-tool` calls the first function with its required properties, then answers from its output."""
    first = model.finished("sim-tool", input="Weather in Oslo?", tools=[{"type": "web_search"}, WEATHER])
    call = first["output"][0]
    assert (call["type"], call["name"]) == ("function_call", "get_weather")
    assert json.loads(call["arguments"]) == {"place": "Weather in Oslo?", "unit": "celsius", "days": 3}
    output = {"type": "function_call_output", "call_id": call["call_id"], "output": "Snow in Oslo."}
    second = model.finished("sim-tool", input=[output], previous_response_id=first["id"], tools=[WEATHER])
    assert "the output of get_weather" in text_of(second)
    assert "1. Snow in Oslo." in text_of(second)


def test_a_function_that_tool_choice_names_is_called(model: ModelPeer) -> None:
    """Any model calls it. If the response ends incomplete, half of the arguments is there."""
    choice = {"type": "function", "name": "get_weather"}
    for name, status in (("sim-instant", "completed"), ("sim-incomplete-0.1s", "incomplete")):
        call = model.finished(name, input="Oslo", tools=[WEATHER], tool_choice=choice)["output"][0]
        assert (call["type"], call["status"]) == ("function_call", status)
        assert '{"place": "Oslo", "unit": "celsius", "days": 3}'.startswith(call["arguments"])
        assert call["arguments"].endswith("}") == (status == "completed")


def test_a_tool_output_without_its_call_is_refused(model: ModelPeer) -> None:
    """A tool output without a matching call is answered with 400."""
    output = {"type": "function_call_output", "call_id": "call_x", "output": "Snow."}
    assert error_of(model.create("sim-tool", input=[output])) == (400, "input", None)


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": "gpt-7"}, "model", "model_not_found"),
        ({"model": None}, "model", "missing_required_parameter"),
        ({"input": 5}, "input", "invalid_type"),
        ({"input": ["text"]}, "input", "invalid_type"),
        ({"tools": {}}, "tools", "invalid_type"),
        ({"background": "yes"}, "background", "invalid_type"),
        ({"temperature": "warm"}, "temperature", "invalid_type"),
        ({"max_output_tokens": True}, "max_output_tokens", "invalid_type"),
        ({"tools": [{"name": "f"}]}, "tools", "invalid_type"),
        ({"previous_response_id": "resp_x"}, "previous_response_id", "previous_response_not_found"),
    ],
)
def test_a_wrong_field_is_named(model: ModelPeer, fields: dict[str, Any], param: str, code: str) -> None:
    """An invalid create call is answered with a 400 that names the field, and starts nothing."""
    assert error_of(model.http.post("/v1/responses", json={"model": "sim-1s", **fields})) == (
        400,
        param,
        code,
    )
    assert model.stats()["started"] == {}


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"temperature": NaN}', b'"\xff"'])
def test_a_body_that_is_not_a_json_object_is_refused(model: ModelPeer, body: bytes) -> None:
    """Broken JSON and other JSON values are answered with 400."""
    assert error_of(model.http.post("/v1/responses", content=body)) == (400, None, None)


def test_a_running_response_cannot_be_chained_or_deleted(model: ModelPeer) -> None:
    """A response must have ended before another one can continue it and before it can be deleted."""
    running = model.create().json()["id"]
    assert error_of(model.create(previous_response_id=running)) == (400, "previous_response_id", None)
    deleted = model.http.delete(f"/v1/responses/{running}")
    assert deleted.json()["error"]["message"] == "Cannot delete an in-flight response."


@pytest.mark.parametrize(
    ("name", "background", "text"),
    [
        ("sim-instant", True, "Cannot cancel a completed response."),
        ("sim-fail-0s", True, "Cannot cancel a failed response."),
        ("sim-incomplete-0s", True, "Cannot cancel an incomplete response."),
        ("sim-instant", False, "Cannot cancel a synchronous response."),
    ],
)
def test_a_finished_response_cannot_be_cancelled(model: ModelPeer, name: str, background: bool, text: str) -> None:
    """A cancel is refused with a message for the status of the response, which does not change."""
    before = model.create(name, background=background).json()
    refused = model.http.post(f"/v1/responses/{before['id']}/cancel")
    assert (refused.status_code, refused.json()["error"]["message"]) == (400, text)
    assert model.get(before["id"]).json() == before


def test_a_foreground_response_that_is_not_stored_is_unknown(model: ModelPeer) -> None:
    """A foreground response with `store` false cannot be retrieved after its end."""
    unstored = model.create("sim-instant", background=False, store=False).json()["id"]
    assert model.get(unstored).status_code == 404


def test_a_foreground_response_is_stopped_when_its_client_disconnects(model: ModelPeer) -> None:
    """A foreground response whose client disconnects counts as aborted, and its key starts a new one."""
    for _ in range(2):
        with pytest.raises(httpx.ReadTimeout):
            model.http.post("/v1/responses", json={"model": "sim-60s"}, headers={"idempotency-key": "k"}, timeout=0.2)
    eventually(lambda: bool(model.stats()["aborted"] == 2))
    assert model.stats()["started"] == {"k": 2}


@pytest.mark.parametrize("prefix", ["/v1", "/openai/v1", "/openai"])
def test_every_base_path_and_api_version_is_served(model: ModelPeer, prefix: str) -> None:
    """The older and newer paths of Azure reach the same model."""
    answer = model.http.post(f"{prefix}/responses?api-version=preview", json={"model": "sim-instant"})
    assert answer.json()["status"] == "completed"
    assert answer.headers["x-request-id"].startswith("req_")
