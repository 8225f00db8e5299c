"""Invariant 7: callers are isolated. The response of another caller is a 404, like one that does not exist."""

import inspect
from collections.abc import Awaitable, Callable
from datetime import date
from typing import Any

import orjson
import pytest

from shared.contract.pages import Page
from shared.contract.requests import parse_request
from shared.core.errors import BadRequest, NotFound
from shared.core.ids import new_id, token_for
from shared.engine import Engine
from shared.lists.lists import Lists
from shared.lists.queries import RecoveryQuery, UsageQuery, parse_deliveries, parse_responses
from tests.support.stage import ANN, BOB, CALLBACK_URL, Stage

CALLS: dict[str, Callable[[Engine, str], Awaitable[Any]]] = {
    "retrieve": lambda engine, named: engine.retrieve(BOB, named),
    "stream": lambda engine, named: engine.stream(BOB, named, None, None),
    "cancel": lambda engine, named: engine.cancel(BOB, named),
    "delete": lambda engine, named: engine.delete(BOB, named),
    "input_items": lambda engine, named: engine.input_items(BOB, named, Page()),
    "deliveries": lambda engine, named: engine.deliveries(BOB, named),
    "redeliver": lambda engine, named: engine.redeliver(BOB, named, None),
}
UNNAMED = {"create", "call", "create_stream", "recover"}  # these name no response
LISTS = {"responses", "deliveries_in_trouble", "usage"}
ERASURES = {"erase", "erasure"}  # in erasure/test_erasing.py
RELAYED = {"input_tokens", "compact", "create_conversation", "on_conversation"}  # in lifecycle/test_relayed.py


def test_every_call_of_a_caller_is_tried_here() -> None:
    """The engine has no other method that gets a caller."""
    calls = vars(Engine) | vars(Lists)
    methods = {name: inspect.signature(one) for name, one in calls.items() if inspect.iscoroutinefunction(one)}
    taking = {name for name, signature in methods.items() if "caller" in signature.parameters}
    assert {name for name in taking if not name.startswith("_")} == CALLS.keys() | UNNAMED | LISTS | ERASURES | RELAYED


@pytest.mark.parametrize("has_ended", [True, False])
@pytest.mark.parametrize("by_token", [True, False])
@pytest.mark.parametrize("name", CALLS)
async def test_another_callers_response_does_not_exist(
    stage: Stage, name: str, by_token: bool, has_ended: bool
) -> None:
    """Bob gets the same error for Ann's response as for an unknown id, and Ann's response does not change."""
    made = await (stage.ended(callback_url=CALLBACK_URL) if has_ended else stage.create(callback_url=CALLBACK_URL))
    await stage.deliver()
    before = await stage.record(made.id)
    unknown = new_id()
    errors = []
    for response_id in (made.id, unknown):
        named = token_for(response_id) if by_token else response_id
        with pytest.raises(NotFound) as refused:
            await CALLS[name](stage.engine, named)
        errors.append(orjson.dumps(refused.value.envelope()).decode().replace(named, "NAMED"))
    assert errors[0] == errors[1]
    assert await stage.record(made.id) == before


async def test_another_callers_response_cannot_be_continued(stage: Stage) -> None:
    """The error is the same as for an unknown id."""
    made, errors = await stage.ended(), []
    for response_id in (made.id, new_id()):
        new = parse_request(orjson.dumps({"model": "m", "input": "q", "previous_response_id": response_id}))
        with pytest.raises(BadRequest) as refused:
            await stage.engine.create(BOB, new, None, 0)
        errors.append(refused.value.message.replace(response_id, "ID"))
    assert errors[0] == errors[1]


async def test_the_same_idempotency_key_of_two_callers_names_two_responses(stage: Stage) -> None:
    """Neither caller learns that the other one has used the key."""
    ann, bob = await stage.create(ANN, key="k"), await stage.create(BOB, key="k")
    assert ann.id != bob.id
    assert (await stage.shown(bob.id, BOB))["id"] == bob.id


async def test_a_list_has_only_the_callers_own(stage: Stage) -> None:
    """Neither a list of responses, nor one of deliveries, nor the usage shows Bob what is Ann's."""
    stage.receiver.answers = [413]
    made = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    for caller, shown in ((ANN, [made.id]), (BOB, [])):
        responses = await stage.engine.lists.responses(caller, parse_responses({}))
        deliveries = await stage.engine.lists.deliveries_in_trouble(caller, parse_deliveries({}))
        assert [one["id"] for one in responses["data"]] == shown
        assert [one["response_id"] for one in deliveries["data"]] == shown
        usage = await stage.engine.lists.usage(caller, UsageQuery(date(2027, 1, 15), date(2027, 1, 15)))
        assert usage["total"]["responses"] == len(shown)


async def test_a_recovery_touches_only_the_callers_own_deliveries(stage: Stage) -> None:
    """Bob's recovery sends nothing of Ann's."""
    stage.receiver.answers = [413]
    await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    assert (await stage.engine.recover(BOB, RecoveryQuery(0)))["recovered"] == 0
    assert (await stage.engine.recover(ANN, RecoveryQuery(0)))["recovered"] == 1
