"""Admission: what a caller may ask for, the record of the new response, and which responses are a caller's own."""

import asyncio
from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from shared.contract.callers import Caller
from shared.contract.requests import NewResponse, parse_request
from shared.core.errors import BadRequest, Misconfigured, NotFound
from shared.core.ids import new_id, token_for
from shared.core.records import Record, RequestInfo
from shared.lifecycle.ownership import own
from shared.starts.admission import admit
from shared.telemetry import tracing
from shared.upstreams.agents.registry import Agents
from shared.upstreams.agents.upstream import PREFIX, AgentUpstream
from tests.support.clocks import START_MS
from tests.support.fakes.agents import AGENT, ran, register_agent
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.stage import ANN, BOB, CALLBACK_URL, Stage

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def asked(**fields: Any) -> NewResponse:
    """Return a checked request with these fields."""
    return parse_request(orjson.dumps({"model": "m", "input": "question", **fields}))


class Choosy(ScriptedUpstream):
    """An upstream that refuses every request, and records the previous response of each."""

    def __init__(self) -> None:
        super().__init__()
        self.previous: list[Record | None] = []

    def validate(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Refuse the request."""
        self.previous.append(previous)
        raise BadRequest(f"'{request['input']}' is not for me.", param="input")


# The record and the request of a new response


async def test_the_record_has_what_the_caller_asked_for(stage: Stage) -> None:
    """The record begins now, belongs to the caller, and has the request's fields and trace. Nothing is stored yet."""
    stage.limit(deadline_ms=5_000)
    events = ["response.completed", "response.failed"]
    previous = await stage.ended()
    new = asked(
        background=True,
        store=False,
        stream=True,
        metadata={"a": "b"},
        previous_response_id=previous.id,
        callback_url=CALLBACK_URL,
        callback_events=events,
        reply_to="replies-1",
    )
    response_id, before = new_id(), stage.proxy.counts["POST $batch"]
    with tracing.under(TRACEPARENT):
        record, _ = await admit(stage.ports, ANN, new, response_id, is_repeatable=False)
    expected = RequestInfo(
        background=True,
        store=False,
        stream=True,
        model="m",
        metadata={"a": "b"},
        previous_id=previous.id,
        callback_url=CALLBACK_URL,
        callback_events=tuple(events),
        reply_to="replies-1",
        masked=True,
        subjects_known=True,
    )
    assert record == Record(
        response_id, "ann", created_ms=START_MS, deadline_ms=START_MS + 5_000, trace=TRACEPARENT, request=expected
    )
    assert stage.proxy.counts["POST $batch"] == before
    assert stage.sent == []


@pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
async def test_the_request_for_the_upstream_depends_on_its_kind(stage: Stage, is_background: bool) -> None:
    """Only a background upstream is asked to work in the background. Our own fields are not passed on."""
    stage.upstream.is_background = is_background
    new = asked(background=True, callback_url=CALLBACK_URL, reply_to="replies-1", temperature=0.5)
    _, body = await admit(stage.ports, ANN, new, new_id(), is_repeatable=False)
    extra = {"background": True, "store": True} if is_background else {}
    assert body == {"model": "m", "input": "question", "temperature": 0.5, "stream": False, **extra}


async def test_a_request_that_the_upstream_would_refuse_is_refused(stage: Stage) -> None:
    """The upstream's own check of a request is passed on to the caller. It gets the previous response, if there is one.

    No call is made.
    """
    previous = await stage.ended()
    stage.cast(upstream := Choosy())
    for previous_id in (None, previous.id):
        with pytest.raises(BadRequest, match="'question' is not for me"):
            await stage.create(previous_response_id=previous_id)
    assert upstream.previous == [None, await stage.record(previous.id)]
    assert upstream.starts == {}


async def test_an_agent_that_cannot_be_loaded_is_our_fault(stage: Stage) -> None:
    """If the module of agents is broken, the error says that the deployment is wrong, also for a repeat."""
    stage.register_agent(PREFIX, AgentUpstream(Agents(__name__)))
    for is_repeatable in (False, True):
        with pytest.raises(Misconfigured):
            await admit(stage.ports, ANN, asked(model=AGENT), new_id(), is_repeatable=is_repeatable)


# The previous response


async def test_a_response_continues_another_by_the_upstreams_id(stage: Stage) -> None:
    """Callers name the previous response by our id.

    The upstream receives its own id, and the response object shows ours.
    """
    first = await stage.ended()
    second = await stage.create(previous_response_id=first.id)
    assert stage.upstream.works["up_1"].request["previous_response_id"] == "up_0"
    assert (await stage.shown(second.id))["previous_response_id"] == first.id


async def test_a_previous_response_can_be_named_by_a_token(stage: Stage) -> None:
    """A continuation token names the previous response as its id does."""
    first = await stage.ended()
    second = await stage.create(previous_response_id=token_for(first.id, 7))
    assert second.request.previous_id == first.id


async def test_only_a_response_that_has_ended_can_be_continued(stage: Stage) -> None:
    """Continuing a response that still runs is refused with its status, and nothing is started."""
    first = await stage.create()
    with pytest.raises(BadRequest, match=r"is still queued; wait for its end") as refused:
        await stage.create(previous_response_id=first.id)
    assert (refused.value.param, refused.value.code) == ("previous_response_id", "previous_response_not_finished")
    assert stage.upstream.starts == {first.id: 1}


async def test_a_response_that_is_not_available_cannot_be_continued(stage: Stage) -> None:
    """A previous response that cannot be continued is always refused in the same way.

    This holds for an unknown id, a deleted response, one of another caller, and one without an upstream id.
    """
    deleted, others = await stage.ended(), await stage.ended(BOB)
    await stage.engine.delete(ANN, deleted.id)
    gate = stage.upstream.hold_starts()
    starter = asyncio.create_task(stage.create(key="k"))
    await gate.reached.wait()
    unknown_upstream = next(name for name in stage.upstream.starts if name not in (deleted.id, others.id))
    await stage.engine.cancel(ANN, unknown_upstream)
    for named in (new_id(), "no id", deleted.id, others.id, unknown_upstream):
        with pytest.raises(BadRequest) as refused:
            await stage.create(previous_response_id=named)
        assert (refused.value.param, refused.value.code) == ("previous_response_id", "previous_response_not_found")
    gate.open()
    await starter


async def test_a_session_is_continued_only_by_the_upstream_it_began_with(stage: Stage) -> None:
    """An agent does not continue another upstream's response, and no other upstream continues an agent's."""
    register_agent(stage)
    ours, theirs = (await ran(stage))["id"], (await stage.ended()).id
    for model, previous in (("m", ours), (AGENT, theirs)):
        with pytest.raises(BadRequest) as refused:
            await stage.create(model=model, previous_response_id=previous)
        assert refused.value.param == "previous_response_id"


# Repeats of an accepted request


async def test_a_repeat_that_fails_a_check_gets_the_first_response(stage: Stage) -> None:
    """A request that fails a check now but was accepted before gets the first record, and no body for the upstream.

    This holds only if it has an idempotency key.
    """
    first = await stage.create(reply_to="replies-1")
    stage.rule(reply_queues=())
    repeat = asked(reply_to="replies-1")
    assert await admit(stage.ports, ANN, repeat, first.id, is_repeatable=True) == (first, None)
    for response_id, is_repeatable in ((first.id, False), (new_id(), True)):
        with pytest.raises(BadRequest) as refused:
            await admit(stage.ports, ANN, repeat, response_id, is_repeatable=is_repeatable)
        assert refused.value.param == "reply_to"


async def test_a_repeat_succeeds_after_its_previous_response_was_deleted(stage: Stage) -> None:
    """A repeat of a request returns the same response, even if the previous response has been deleted since."""
    previous = await stage.ended()
    first = await stage.create(key="k", previous_response_id=previous.id)
    await stage.engine.delete(ANN, previous.id)
    assert await stage.create(key="k", previous_response_id=previous.id) == first
    assert stage.upstream.starts[first.id] == 1


async def test_a_repeat_succeeds_after_its_callback_host_was_barred(stage: Stage) -> None:
    """A repeat returns the same response after the callback's host has left the allow-list.

    A new request is refused.
    """
    allowed = Caller("ann", (), ANN.secrets, ("hooks.contoso.com",))
    barred = Caller("ann", (), ANN.secrets, ("fabrikam.com",))
    first = await stage.create(allowed, key="k", callback_url=CALLBACK_URL)
    assert await stage.create(barred, key="k", callback_url=CALLBACK_URL) == first
    with pytest.raises(BadRequest):
        await stage.create(barred, key="other", callback_url=CALLBACK_URL)
    assert stage.upstream.starts == {first.id: 1}


async def test_a_repeat_does_not_restore_a_deleted_response(stage: Stage) -> None:
    """If a response and its previous one are both deleted, a repeat is refused and shows nothing of the response."""
    previous = await stage.ended()
    first = await stage.ended(key="k", previous_response_id=previous.id)
    for one in (previous, first):
        await stage.engine.delete(ANN, one.id)
    with pytest.raises(BadRequest) as refused:
        await stage.create(key="k", previous_response_id=previous.id)
    assert refused.value.param == "Idempotency-Key"


# A caller's own responses


async def test_a_caller_finds_its_response_by_id_and_token(stage: Stage) -> None:
    """A response is found by its id, its continuation token, or the token of one of its events."""
    made = await stage.create()
    for named in (made.id, token_for(made.id), token_for(made.id, 3)):
        assert await own(stage.ports, ANN, named) == made


async def test_what_a_caller_does_not_have_is_not_found(stage: Stage) -> None:
    """A response that does not exist, is deleted or belongs to another caller gets the same answer.

    The answer repeats at most 100 characters of what the caller sent.
    """
    deleted, others = await stage.ended(), await stage.create(BOB)
    await stage.engine.delete(ANN, deleted.id)
    for named in (new_id(), deleted.id, token_for(deleted.id), others.id, token_for(others.id), "", "x" * 5_000):
        with pytest.raises(NotFound) as missing:
            await own(stage.ports, ANN, named)
        assert missing.value.message == f"Response with id '{named[:100]}' not found."
