"""Other ends of agents: crashes, cancels, deadlines, failures and refusals."""

import asyncio
from functools import partial
from typing import Any

import pytest
from agent_framework import Content

from shared.core.alarms import Kind
from shared.core.errors import BadRequest
from shared.core.records import Record
from shared.core.states import Status
from shared.storage.messages import RunOffer
from shared.transitions import run_transitions
from tests.support.conditions import until
from tests.support.fakes.agents import AGENT, Script, Weather, calls, rainy, ran, register_agent, says, spoken
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.run_holders import claimed, die, driving, reaches
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import kinds, streamed, text

# Crashes


@pytest.mark.parametrize("stream", [False, True])
async def test_a_tool_that_has_finished_is_not_called_again(stage: Stage, tool: Weather, stream: bool) -> None:
    """After a crash, the next process gives the model the saved result of a tool that had finished.

    The tool is not called again.
    """
    script = rainy(stage, tool)
    gate = script.hold(1)
    reader = await streamed(stage, model=AGENT) if stream else None
    response_id = (reader or await stage.create(model=AGENT)).id
    first = driving(stage.engine, response_id, 1)
    await gate.reached.wait()
    await die(first)
    await stage.fire_alarms(response_id)
    gate.open()
    await (await stage.process()).drive(RunOffer(response_id, 2))
    shown = await stage.shown(response_id)
    assert (shown["status"], spoken(shown), tool.asked) == ("completed", "It rains.", ["Bonn"])
    assert shown["output"][1]["output"] == "rain in Bonn"
    assert (await stage.record(response_id)).upstream.starts == 2
    if reader:
        seen = await reader.rest()
        assert (kinds(seen).count("in_progress"), text(seen)) == (2, "It rains.")


async def test_equal_calls_are_distinguished(stage: Stage, tool: Weather) -> None:
    """After a crash, the first of two equal calls gets its saved result.

    The second, which was not made yet, is made.
    """
    turns = [[calls("weather", city="Bonn")], [calls("weather", city="Bonn")], says("Twice.")]
    script = register_agent(stage, Script(turns), tool.weather)
    gate = script.hold(1)
    made = await stage.create(model=AGENT)
    first = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    await die(first)
    await stage.fire_alarms(made.id)
    gate.open()
    await stage.engine.drive(RunOffer(made.id, 2))
    assert (tool.asked, spoken(await stage.shown(made.id))) == (["Bonn", "Bonn"], "Twice.")


async def test_a_tool_that_fails_is_called_again_after_a_crash(stage: Stage) -> None:
    """A tool call that failed is made again after a crash, because it has no saved result."""
    tries: list[str] = []

    def broken(city: str) -> str:
        """Fail."""
        tries.append(city)
        raise ValueError(city)

    script = register_agent(stage, Script([[calls("broken", city="Bonn")], says("No idea.")]), broken)
    gate = script.hold(1)
    made = await stage.create(model=AGENT)
    first = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    await die(first)
    await stage.fire_alarms(made.id)
    gate.open()
    await stage.engine.drive(RunOffer(made.id, 2))
    assert (tries, (await stage.shown(made.id))["status"]) == (["Bonn", "Bonn"], "completed")


async def test_a_process_that_has_lost_its_run_saves_no_tool_result(stage: Stage, tool: Weather) -> None:
    """A process that has lost its run saves no tool result and does not call the model again."""
    stage.pace(watch_s=600, renew_s=600)
    script = rainy(stage, tool)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    older = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    await reaches(stage, made.id, lambda record: record.upstream.starts == 1)
    before_ms = stage.clock.ms
    await stage.fire_alarms(made.id)
    await stage.ports.store.commit(run_transitions.claim_run(await stage.record(made.id), stage.clock.ms))
    stage.clock.ms = before_ms  # as if it had lost the run in the call of the tool
    gate.open()
    await reaches(stage, made.id, lambda _: bool(tool.asked))
    await asyncio.sleep(0)
    assert (await stage.record(made.id)).upstream.checkpoints == 0
    assert len(script.asked) == 1
    await die(older)


async def test_a_process_whose_lease_is_past_looks_before_it_calls_a_tool(stage: Stage, tool: Weather) -> None:
    """If the time of its lease is past and another process has the run, it does not call the tool."""
    stage.pace(watch_s=600, renew_s=600)
    script = rainy(stage, tool)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    older = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    await reaches(stage, made.id, lambda record: record.upstream.starts == 1)
    await stage.fire_alarms(made.id)
    before = stage.proxy.counts["GET responses(key)"]
    gate.open()

    async def has_looked() -> bool:
        return stage.proxy.counts["GET responses(key)"] > before

    await until(has_looked)
    await (await stage.process()).drive(RunOffer(made.id, 2))
    assert len(tool.asked) == 1  # by the next holder
    await die(older)


# Other ends


async def test_a_cancel_closes_the_agent(stage: Stage) -> None:
    """A cancel closes the agent's request, and nothing more of the run is written."""
    script = register_agent(stage)
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
    """At its deadline, the agent's request is closed and the response fails with `deadline_exceeded`."""
    script = register_agent(stage)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    running = driving(stage.engine, made.id, 1)
    await gate.reached.wait()
    stage.clock.ms = made.deadline_ms
    await running
    assert script.closed == 1
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"


@pytest.mark.parametrize("stream", [False, True])
async def test_a_failure_shows_only_the_type_of_the_exception(
    stage: Stage, stream: bool, written: WrittenLines, caplog: pytest.LogCaptureFixture
) -> None:
    """A failure shows only the exception's type. Neither the response nor the log has its text."""
    secret = "https://u:sk-geheim@api.example.com/?q=question"
    register_agent(stage, Script(errors=[RuntimeError(secret)]))
    reader = await streamed(stage, model=AGENT) if stream else None
    response_id = (reader or await stage.create(model=AGENT)).id
    await stage.engine.drive(RunOffer(response_id, 1))
    shown = await stage.shown(response_id)
    message = "The agent failed with RuntimeError."
    assert shown["error"] == {"code": "runtime_error", "message": message, "type": "server_error", "param": None}
    failures = [line for line in log_lines(written) if line["event"] == "agent.failed"]
    assert [line["errors"] for line in failures] == [["RuntimeError"]]
    assert "sk-geheim" not in written.text + str([vars(one) for one in caplog.records])
    if reader:
        assert kinds(await reader.rest())[-2:] == ["error", "failed"]


@pytest.mark.parametrize(("reason", "shown"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
async def test_an_answer_that_was_cut_is_incomplete(stage: Stage, reason: str, shown: str) -> None:
    """An answer that was cut is incomplete, with the contract's reason, and can be continued."""
    register_agent(stage, Script(finish_reason=reason))
    response = await ran(stage)
    assert (response["status"], response["incomplete_details"]) == ("incomplete", {"reason": shown})
    assert (await stage.record(response["id"])).session_rows == 1


async def test_an_agent_is_restarted_three_times_after_crashes(stage: Stage) -> None:
    """After the fourth crash, an agent is not started again and the response fails with `upstream_lost`."""
    script = register_agent(stage)
    gate = script.hold(0)
    made = await stage.create(model=AGENT)
    for epoch in range(1, 5):
        running = driving(stage.engine, made.id, epoch)
        await claimed(stage, made.id, epoch)
        await reaches(stage, made.id, partial(_has_begun, epoch))
        await die(running)
        await stage.fire_alarms(made.id)
    gate.open()
    await stage.engine.drive(RunOffer(made.id, 5))
    ended = await stage.record(made.id)
    assert (ended.status, ended.upstream.starts) == (Status.FAILED, 4)
    assert (await stage.shown(made.id))["error"]["code"] == "upstream_lost"


def _has_begun(times: int, record: Record) -> bool:
    return record.upstream.starts == times


# Refusals


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
async def test_a_request_that_an_agent_cannot_handle_is_refused(
    stage: Stage, fields: dict[str, Any], param: str, code: str | None
) -> None:
    """A request that an agent cannot handle is refused with the field's name, before anything is stored."""
    register_agent(stage)
    with pytest.raises(BadRequest) as refused:
        await stage.create(**{"model": AGENT, **fields})
    assert (refused.value.param, refused.value.code) == (param, code)
    assert stage.sent == []


async def test_a_response_whose_agent_was_removed_fails(stage: Stage) -> None:
    """A response whose agent was removed from the deployment fails with `model_not_found`."""
    register_agent(stage)
    made = await stage.create(model=AGENT)
    stage.others.clear()
    register_agent(stage, name="other")
    await stage.engine.drive(RunOffer(made.id, 1))
    assert (await stage.shown(made.id))["error"]["code"] == "model_not_found"


async def test_an_agent_that_needs_a_person_fails(stage: Stage) -> None:
    """An agent that asks for an approval fails with `agent_needs_input`, because no one can answer it."""
    call = Content.from_function_call("call_1", "delete", arguments="{}")
    register_agent(stage, Script([[Content.from_function_approval_request("req_1", call)]]))
    assert (await ran(stage))["error"]["code"] == "agent_needs_input"
