"""Conversations: each belongs to the caller who made it, at the upstream that keeps it."""

from typing import Any

import orjson
import pytest

from shared.contract.requests import parse_request
from shared.core.errors import (
    BadRequest,
    NotFound,
    RefusedByUpstream,
    StoreError,
    UpstreamError,
    UpstreamRefused,
    UpstreamUnavailable,
)
from shared.core.states import Status
from shared.relayed.conversations import ConversationCall
from shared.upstreams.specs import UpstreamSpec
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.fakes.relays import ScriptedRelay
from tests.support.log_capture import WrittenLines, log_events
from tests.support.stage import ANN, BOB, Stage

REFUSAL = UpstreamRefused(400, "No.", param="input", code="wrong")
MADE = {"id": "conv_1", "object": "conversation", "metadata": {}}


@pytest.fixture
async def conversation(stage: Stage) -> str:
    """Let Ann make a conversation, and return its id."""
    stage.relay.answers["/conversations"] = MADE
    assert await stage.engine.create_conversation(ANN, {"metadata": {"a": "b"}}, None) == MADE
    assert stage.relay.asked == [("POST", "/conversations", {"metadata": {"a": "b"}})]
    return "conv_1"


@pytest.mark.parametrize("name", [".", "..", "a\nb", "a\\b", "..\\x", "x" * 2_000])
async def test_a_name_that_leads_elsewhere_does_not_exist(stage: Stage, conversation: str, name: str) -> None:
    """A dot segment would be another path of the upstream. It is not asked."""
    with pytest.raises(NotFound):
        await stage.engine.model(name)
    with pytest.raises(NotFound):
        await stage.engine.on_conversation(ANN, ConversationCall("DELETE", (conversation, "items", name)))
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
        await stage.engine.create_conversation(ANN, {}, None)
    assert stage.relay.asked[1:] == [("DELETE", f"/conversations/{MADE['id']}", None)]
    assert ("conversation.orphaned" in log_events(written)) is (refusal is not None)


async def test_a_refused_deletion_keeps_it(stage: Stage, conversation: str) -> None:
    """It still has its owner."""
    stage.relay.errors = [REFUSAL]
    with pytest.raises(RefusedByUpstream):
        await stage.engine.on_conversation(ANN, CALLS[2])
    await stage.engine.on_conversation(ANN, ConversationCall("GET", (conversation,)))


# Several upstreams


async def test_a_conversation_is_kept_by_the_upstream_of_a_model(stage: Stage) -> None:
    """Calls about it, and responses that continue it, go there, although the id says nothing of that."""
    eu, relay = ScriptedUpstream(), ScriptedRelay()
    stage.add_upstream(UpstreamSpec("eu", models=("gpt-*",)), eu, relay)
    relay.answers["/conversations"] = MADE
    await stage.engine.create_conversation(ANN, {}, "gpt-5")
    await stage.engine.on_conversation(ANN, CALLS[0])
    assert [method for method, _, _ in relay.asked] == ["POST", "GET"]
    assert stage.relay.asked == []
    made = await stage.create(model="gpt-5", conversation="conv_1")
    assert (made.upstream.name, sum(eu.starts.values())) == ("eu", 1)
    with pytest.raises(BadRequest) as refused:
        await stage.create(model="m", conversation="conv_1")
    assert refused.value.param == "conversation"


async def test_equal_ids_of_two_upstreams_are_two_conversations(stage: Stage, conversation: str) -> None:
    """One caller's conversation gives another caller nothing, whatever ids an upstream gives away."""
    relay = ScriptedRelay()
    stage.add_upstream(UpstreamSpec("eu", models=("gpt-*",)), ScriptedUpstream(), relay)
    relay.answers["/conversations"] = MADE
    await stage.engine.create_conversation(BOB, {}, "gpt-5")
    for caller, asked in ((ANN, stage.relay), (BOB, relay)):
        before = len(asked.asked)
        await stage.engine.on_conversation(caller, ConversationCall("GET", (conversation,)))
        assert len(asked.asked) == before + 1
    await stage.engine.on_conversation(BOB, CALLS[2])
    await stage.engine.on_conversation(ANN, CALLS[0])


async def test_a_conversation_for_a_model_that_nobody_serves_is_not_made(stage: Stage) -> None:
    """No upstream is asked."""
    stage.treat(models=("m",))
    with pytest.raises(NotFound):
        await stage.engine.create_conversation(ANN, {}, "gpt-5")
    assert stage.relay.asked == []
