"""How agents end otherwise: their process dies, they are cancelled, overdue, they fail, or they are refused."""

import asyncio
from functools import partial
from typing import Any

import pytest
from agent_framework import Content

from shared.core import run_transitions
from shared.core.alarms import Kind
from shared.core.errors import BadRequest
from shared.core.records import Record
from shared.core.states import Status
from shared.storage.messages import RunOffer
from tests.support.fakes.agents import AGENT, Script, Weather, calls, employ, rainy, ran, says, spoken
from tests.support.log_capture import log_lines
from tests.support.run_holders import claimed, die, driving, reaches
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import kinds, streamed, text

# Death


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_that_has_finished_is_not_run_again(stage: Stage, tool: Weather, stream: bool) -> None:
    """The process dies while the model reads the result; the next one gives the model the result that was kept."""
    script = rainy(stage, tool)
    gate = script.hold(1)
    reader = await streamed(stage, model=AGENT) if stream else None
    response_id = (reader or await stage.create(model=AGENT)).id
    first = driving(stage.engine, response_id, 1)
    await gate.reached.wait()
    await die(first)
    await stage.ring(response_id)
    gate.open()
    await (await stage.process()).drive(RunOffer(response_id, 2))
    shown = await stage.shown(response_id)
    assert (shown["status"], spoken(shown), tool.asked) == ("completed", "It rains.", ["Bonn"])
    assert shown["output"][1]["output"] == "rain in Bonn"
    assert (await stage.record(response_id)).upstream.starts == 2
    if reader:
        seen = await reader.rest()
        assert (kinds(seen).count("in_progress"), text(seen)) == (2, "It rains.")


async def test_equal_calls_are_told_apart(stage: Stage, tool: Weather) -> None:
    """After a death the first is recalled, and the second, which had not come to pass, is made."""
    turns = [[calls("weather", city="Bonn")], [calls("weather", city="Bonn")], says("Twice.")]
    script = employ(stage, Script(turns), tool.weather)
    gate = script.hold(1)
    made = await stage.create(model=AGENT)
    first = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    await die(first)
    await stage.ring(made.id)
    gate.open()
    await stage.engine.drive(RunOffer(made.id, 2))
    assert (tool.asked, spoken(await stage.shown(made.id))) == (["Bonn", "Bonn"], "Twice.")


async def test_a_tool_that_fails_is_tried_again_after_a_death(stage: Stage) -> None:
    """It has no result that could be kept."""
    tries: list[str] = []

    def broken(city: str) -> str:
        """Fail."""
        tries.append(city)
        raise ValueError(city)

    script = employ(stage, Script([[calls("broken", city="Bonn")], says("No idea.")]), broken)
    gate = script.hold(1)
    made = await stage.create(model=AGENT)
    first = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    await die(first)
    await stage.ring(made.id)
    gate.open()
    await stage.engine.drive(RunOffer(made.id, 2))
    assert (tries, (await stage.shown(made.id))["status"]) == (["Bonn", "Bonn"], "completed")


async def test_a_run_that_is_lost_calls_no_tool(stage: Stage, tool: Weather) -> None:
    """Another process has taken over: what the older one keeps is not written, and it goes no further."""
    stage.pace(watch_s=600)
    script = rainy(stage, tool)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    older = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    await stage.ring(made.id)
    await stage.ports.store.commit(run_transitions.claim_run(await stage.record(made.id), stage.clock.ms))
    gate.open()
    await reaches(stage, made.id, lambda _: bool(tool.asked))
    await asyncio.sleep(0)
    assert (await stage.record(made.id)).upstream.checkpoints == 0
    assert len(script.asked) == 1
    await die(older)


# Other ends


async def test_a_cancel_closes_the_agent(stage: Stage) -> None:
    """Its request is broken off, and nothing of it is written any more."""
    script = employ(stage)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    await stage.engine.cancel(ANN, made.id)
    await running
    assert (script.closed, (await stage.shown(made.id))["status"]) == (1, "cancelled")
    stage.clock.advance(60)
    await stage.sweep(made.id)
    assert await stage.kinds(made.id) == [Kind.PURGE]


async def test_a_deadline_closes_the_agent(stage: Stage) -> None:
    """The response fails with the code of deadlines."""
    script = employ(stage)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    stage.clock.ms = made.deadline_ms
    await running
    assert script.closed == 1
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"


async def test_no_run_is_held_longer_than_an_invocation_may_last(stage: Stage) -> None:
    """However long the deployment lets responses take."""
    stage.limit(deadline_ms=7 * 86_400_000)
    script = employ(stage)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    stage.clock.advance(21_000)
    await running
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_names_the_type_and_tells_nothing(
    stage: Stage, stream: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither the response nor the log holds the exception's text; what was told before stays."""
    secret = "https://u:sk-geheim@api.example.com/?q=question"
    employ(stage, Script(errors=[RuntimeError(secret)]))
    reader = await streamed(stage, model=AGENT) if stream else None
    response_id = (reader or await stage.create(model=AGENT)).id
    await stage.engine.drive(RunOffer(response_id, 1))
    shown = await stage.shown(response_id)
    assert shown["error"] == {"code": "runtime_error", "message": "The agent failed with RuntimeError."}
    failures = [line for line in log_lines(caplog) if line["event"] == "agent.failed"]
    assert [line["errors"] for line in failures] == [["RuntimeError"]]
    assert "sk-geheim" not in str([vars(one) for one in caplog.records])
    if reader:
        assert kinds(await reader.rest())[-2:] == ["error", "failed"]


@pytest.mark.parametrize(("reason", "shown"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_was_cut_is_incomplete(stage: Stage, reason: str, shown: str) -> None:
    """The reason is the contract's word for it; such a response can be continued."""
    employ(stage, Script(finish_reason=reason))
    response = await ran(stage)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": shown})
    assert (await stage.record(response["id"])).session_rows == 1


async def test_a_dead_process_is_followed_three_times(stage: Stage) -> None:
    """The fourth finds that the agent was begun anew often enough."""
    script = employ(stage)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    for epoch in range(1, 5):
        running = driving(stage.engine, made.id, epoch)
        await claimed(stage, made.id, epoch)
        await reaches(stage, made.id, partial(_has_begun, epoch))
        await die(running)
        await stage.ring(made.id)
    gate.open()
    await stage.engine.drive(RunOffer(made.id, 5))
    ended = await stage.record(made.id)
    assert (ended.status, ended.upstream.starts) == (Status.FAILED, 4)
    assert (await stage.shown(made.id))["error"]["code"] == "upstream_lost"


def _has_begun(times: int, record: Record) -> bool:
    return record.upstream.starts == times


# What is refused


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"model": "agent:nobody"}, "model", "model_not_found"),
        ({"model": "agent:"}, "model", "model_not_found"),
        ({"tools": [{"type": "function", "name": "x"}]}, "tools", None),
        ({"conversation": "conv_1"}, "conversation", None),
        ({"input": [{"type": "computer_call"}]}, "input", None),
        ({"input": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "input", None),
    ],
)
async def test_what_an_agent_cannot_be_asked_is_refused(
    stage: Stage, fields: dict[str, Any], param: str, code: str | None
) -> None:
    """With the field's name, and before anything is stored."""
    employ(stage)
    with pytest.raises(BadRequest) as refused:
        await stage.create(**{"model": AGENT, **fields})
    assert (refused.value.param, refused.value.code) == (param, code)
    assert stage.sent == []


async def test_an_agent_that_is_dropped_fails_what_was_accepted(stage: Stage) -> None:
    """The next deployment knows it no more."""
    employ(stage)
    made = await stage.create(model=AGENT)
    stage.others.clear()
    employ(stage, name="other")
    await stage.engine.drive(RunOffer(made.id, 1))
    assert (await stage.shown(made.id))["error"]["code"] == "model_not_found"


async def test_an_agent_that_needs_a_person_fails(stage: Stage) -> None:
    """Nobody could answer it: the code says so."""
    call = Content.from_function_call("call_1", "delete", arguments="{}")
    employ(stage, Script([[Content.from_function_approval_request("req_1", call)]]))
    assert (await ran(stage))["error"]["code"] == "agent_needs_input"
