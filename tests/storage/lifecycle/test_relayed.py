"""What the upstream answers by itself: every caller gets only what is theirs, and errors keep their meaning."""

from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from shared.contract.callers import Caller
from shared.contract.requests import parse_request
from shared.core.errors import (
    BadRequest,
    NotFound,
    RefusedByUpstream,
    StoreError,
    Unavailable,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from shared.core.states import Status
from shared.engine import Engine
from shared.lifecycle.relayed import ConversationCall
from tests.support.log_capture import WrittenLines, log_events
from tests.support.stage import ANN, BOB, Stage

REFUSAL = UpstreamRefused(400, "No.", param="input", code="wrong")
MADE = {"id": "conv_1", "object": "conversation", "metadata": {}}

Ask = Callable[[Engine, Caller], Awaitable[Any]]
COUNT: Ask = lambda engine, caller: engine.input_tokens(caller, {"model": "m", "input": "q"})  # noqa: E731
COMPACT: Ask = lambda engine, caller: engine.compact(caller, {"model": "m", "input": "q"})  # noqa: E731
MODELS: Ask = lambda engine, _: engine.model("m/1")  # noqa: E731
every_call = pytest.mark.parametrize("ask", [COUNT, COMPACT, MODELS], ids=["count", "compact", "model"])


@pytest.fixture
async def conversation(stage: Stage) -> str:
    """Let Ann make a conversation, and return its id."""
    stage.relay.answers["/conversations"] = MADE
    assert await stage.engine.create_conversation(ANN, {"metadata": {"a": "b"}}) == MADE
    assert stage.relay.asked == [("POST", "/conversations", {"metadata": {"a": "b"}})]
    return "conv_1"


@every_call
async def test_a_refusal_is_passed_on(stage: Stage, ask: Ask) -> None:
    """It has the upstream's status and words."""
    stage.relay.errors = [REFUSAL]
    with pytest.raises(RefusedByUpstream) as refused:
        await ask(stage.engine, ANN)
    assert (refused.value.status, refused.value.param, refused.value.message) == (400, "input", "No.")


@every_call
async def test_an_upstream_that_cannot_be_asked_is_unavailable(stage: Stage, ask: Ask) -> None:
    """The caller may try again, and learns nothing internal."""
    stage.relay.errors = [UpstreamUnavailable("ConnectError")]
    with pytest.raises(Unavailable) as unavailable:
        await ask(stage.engine, ANN)
    assert unavailable.value.retry_after_s
    assert "ConnectError" not in unavailable.value.message


async def test_agents_stand_beside_the_upstreams_models(stage: Stage) -> None:
    """An upstream without a list has none, and agents are known without a call."""

    class Agents:
        is_background = False

        def names(self) -> list[str]:
            return ["agent:clerk"]

    stage.register_agent("agent:", Agents())  # type: ignore[arg-type]
    stage.relay.answers["/models"] = {"object": "list", "data": [{"id": "m"}, "odd"]}
    listed = await stage.engine.models()
    assert [one["id"] for one in listed["data"]] == ["m", "agent:clerk"]
    stage.relay.errors = [UpstreamRefused(404, "No such path.")]
    assert [one["id"] for one in (await stage.engine.models())["data"]] == ["agent:clerk"]
    before = len(stage.relay.asked)
    assert (await stage.engine.model("agent:clerk"))["object"] == "model"
    assert len(stage.relay.asked) == before


async def test_a_models_name_is_one_segment_of_the_path(stage: Stage) -> None:
    """It cannot lead to another path of the upstream."""
    await stage.engine.model("../a?b")
    assert stage.relay.asked == [("GET", "/models/..%2Fa%3Fb", None)]


@pytest.mark.parametrize("name", [".", "..", "a\nb", "x" * 2_000])
async def test_a_name_that_leads_elsewhere_does_not_exist(stage: Stage, conversation: str, name: str) -> None:
    """A dot segment would be another path of the upstream. It is not asked."""
    with pytest.raises(NotFound):
        await stage.engine.model(name)
    with pytest.raises(NotFound):
        await stage.engine.on_conversation(ANN, ConversationCall("DELETE", (conversation, "items", name)))
    assert len(stage.relay.asked) == 1


@pytest.mark.parametrize("path", ["/responses/input_tokens", "/responses/compact"])
async def test_a_previous_response_is_named_as_the_upstream_knows_it(stage: Stage, path: str) -> None:
    """It must be the caller's own."""
    ask = stage.engine.compact if path.endswith("compact") else stage.engine.input_tokens
    previous = await stage.ended()
    await ask(ANN, {"model": "m", "previous_response_id": previous.id})
    assert stage.relay.asked == [("POST", path, {"model": "m", "previous_response_id": previous.upstream.id})]
    with pytest.raises(BadRequest):
        await ask(BOB, {"model": "m", "previous_response_id": previous.id})
    with pytest.raises(BadRequest):
        await ask(ANN, {"model": "m", "previous_response_id": 1})
    assert len(stage.relay.asked) == 1


CALLS = [
    ConversationCall("GET", ("conv_1",)),
    ConversationCall("POST", ("conv_1",), body={"metadata": {}}),
    ConversationCall("DELETE", ("conv_1",)),
    ConversationCall("POST", ("conv_1", "items"), body={"items": []}),
    ConversationCall("GET", ("conv_1", "items"), {"limit": "2", "after": "msg_1", "other": "x"}),
    ConversationCall("GET", ("conv_1", "items", "msg/1")),
    ConversationCall("DELETE", ("conv_1", "items", "msg_1")),
]


@pytest.mark.parametrize("call", CALLS, ids=lambda call: f"{call.method} {len(call.names)}")
async def test_only_its_owner_reaches_a_conversation(stage: Stage, conversation: str, call: ConversationCall) -> None:
    """For anybody else it does not exist, and the upstream is not asked."""
    with pytest.raises(NotFound):
        await stage.engine.on_conversation(BOB, call)
    assert len(stage.relay.asked) == 1
    await stage.engine.on_conversation(ANN, call)
    assert stage.relay.asked[1:] == [(call.method, call.path, call.body)]
    assert conversation in call.path


def test_only_known_parameters_are_passed_on() -> None:
    """Segments and values are quoted."""
    assert CALLS[4].path == "/conversations/conv_1/items?after=msg_1&limit=2"
    assert CALLS[5].path == "/conversations/conv_1/items/msg%2F1"


@pytest.mark.parametrize("given", ["conv_2", {"id": "conv_2"}, "a/b", "x" * 200])
async def test_a_conversation_without_an_owner_does_not_exist(stage: Stage, given: Any) -> None:
    """One of an older release, or of another system, has no row. Neither a create nor a count may name it."""
    body = {"model": "m", "input": "q", "background": True, "conversation": given}
    with pytest.raises(NotFound) as missing:
        await stage.engine.create(ANN, parse_request(orjson.dumps(body)), None)
    assert missing.value.param == "conversation"
    with pytest.raises(NotFound):
        await stage.engine.input_tokens(ANN, body)
    assert stage.upstream.starts == {}


@pytest.mark.parametrize("given", ["", 1, {}, {"id": 1}, [], False])
async def test_a_conversation_that_is_no_id_is_refused(stage: Stage, given: Any) -> None:
    """The field is named."""
    body = {"model": "m", "input": "q", "background": True, "conversation": given}
    with pytest.raises(BadRequest) as refused:
        await stage.engine.create(ANN, parse_request(orjson.dumps(body)), None)
    assert refused.value.param == "conversation"


async def test_its_owner_continues_a_conversation(stage: Stage, conversation: str) -> None:
    """Another caller who knows the id cannot."""
    made = await stage.create(conversation=conversation)
    assert made.status is Status.QUEUED
    with pytest.raises(NotFound):
        await stage.create(BOB, conversation={"id": conversation})


async def test_a_deleted_conversation_is_gone(stage: Stage, conversation: str) -> None:
    """A deleted item leaves it there."""
    await stage.engine.on_conversation(ANN, CALLS[6])
    await stage.engine.on_conversation(ANN, CALLS[0])
    await stage.engine.on_conversation(ANN, CALLS[2])
    with pytest.raises(NotFound):
        await stage.engine.on_conversation(ANN, ConversationCall("GET", (conversation,)))


@pytest.mark.parametrize("refusal", [None, UpstreamUnavailable("ConnectError")])
async def test_a_conversation_whose_owner_cannot_be_stored_is_deleted(
    stage: Stage, written: WrittenLines, refusal: UpstreamError | None
) -> None:
    """Nobody could reach it. If the upstream cannot be asked, a line says that it is left there."""
    stage.relay.answers["/conversations"] = MADE
    stage.relay.errors = [None, refusal]
    stage.proxy.refuse(lambda request: request.kind.startswith(("PUT", "POST", "PATCH", "MERGE")))
    with pytest.raises(StoreError):
        await stage.engine.create_conversation(ANN, {})
    assert stage.relay.asked[1:] == [("DELETE", f"/conversations/{MADE['id']}", None)]
    assert ("conversation.orphaned" in log_events(written)) is (refusal is not None)


async def test_a_refused_deletion_keeps_it(stage: Stage, conversation: str) -> None:
    """It still has its owner."""
    stage.relay.errors = [REFUSAL]
    with pytest.raises(RefusedByUpstream):
        await stage.engine.on_conversation(ANN, CALLS[2])
    await stage.engine.on_conversation(ANN, ConversationCall("GET", (conversation,)))
