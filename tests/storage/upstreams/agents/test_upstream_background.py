"""Agents whose chat client works in the background: no process has to live as long as the work."""

from collections.abc import Callable
from dataclasses import replace

from shared.core.alarms import Kind
from shared.core.changesets import ChangeSet
from shared.core.states import Status
from shared.storage.messages import RunOffer
from tests.support.fakes.agents import AGENT, Script, Weather, calls, register_agent, says, spoken
from tests.support.run_holders import run_on
from tests.support.stage import Stage
from tests.support.stream_clients import offers

Employ = Callable[..., None]


async def test_no_process_holds_an_agent_that_waits(stage: Stage) -> None:
    """While an agent waits for background work, no process holds its run.

    Another process continues with the agent's token, and this does not count as a start.
    """
    script = register_agent(stage, Script(polls=2))
    made = await stage.create(model=AGENT)
    await stage.engine.drive(RunOffer(made.id, 1))
    paused = await stage.record(made.id)
    assert (paused.status, paused.run.claimed, paused.run.epoch, paused.upstream.checkpoints) == (
        Status.IN_PROGRESS,
        False,
        2,
        1,
    )
    (alarm,) = await stage.alarms(made.id)
    assert (alarm.kind, alarm.due_ms - stage.clock.ms) == (Kind.RUN, 1_000)
    assert await run_on(stage, made.id) == 2
    ended = await stage.record(made.id)
    assert (ended.upstream.starts, ended.run.expirations, ended.upstream.checkpoints, script.begun) == (1, 0, 1, 1)
    assert spoken(await stage.shown(made.id)) == "All well."
    assert [options.get("continuation_token") for options in script.options] == [None, *[{"response_id": "work_1"}] * 2]


async def test_an_agent_that_used_up_its_restarts_may_wait(stage: Stage) -> None:
    """An agent that has used up its restarts can still wait for background work, because a poll is not a start."""
    register_agent(stage, Script(polls=2))
    made = await stage.create(model=AGENT)
    await stage.ports.store.commit(ChangeSet(replace(made, upstream=replace(made.upstream, starts=3))))
    await run_on(stage, made.id)
    ended = await stage.record(made.id)
    assert (ended.status, ended.upstream.starts) == (Status.COMPLETED, 4)


async def test_polls_become_rarer(stage: Stage) -> None:
    """Background work is polled at growing intervals: a tenth of the elapsed time, up to 30 s."""
    register_agent(stage, Script(polls=8))
    made = await stage.create(model=AGENT)
    waits = []
    for epoch in range(1, 9):
        await stage.engine.drive(RunOffer(made.id, epoch))
        (alarm,) = await stage.alarms(made.id)
        waits.append((alarm.due_ms - stage.clock.ms) // 1000)
        stage.clock.advance(epoch * 6)
        await stage.fire_alarms(made.id)
    assert waits == sorted(waits)
    assert (waits[0], 10 < waits[-1] <= 30) == (1, True)
    assert offers(stage, made.id) == list(range(1, 10))


async def test_a_run_that_only_pauses_may_last_longer_than_an_invocation(stage: Stage) -> None:
    """A run that pauses between polls can last longer than an invocation, because no process holds it for long."""
    stage.limit(deadline_ms=7 * 86_400_000)
    register_agent(stage, Script(polls=2))
    made = await stage.create(model=AGENT)
    await stage.engine.drive(RunOffer(made.id, 1))
    stage.clock.advance(100_000)
    await run_on(stage, made.id)
    assert (await stage.record(made.id)).status is Status.COMPLETED


async def test_a_deadline_ends_a_run_that_is_paused(stage: Stage) -> None:
    """A paused run ends at its deadline, even if its next poll is later."""
    register_agent(stage, Script(polls=1_000))
    made = await stage.create(model=AGENT)
    await stage.engine.drive(RunOffer(made.id, 1))
    stage.clock.ms = made.deadline_ms
    await stage.sweep(made.id)
    assert (await stage.shown(made.id))["error"]["code"] == "deadline_exceeded"


async def test_a_follow_up_continues_a_session_that_was_paused(stage: Stage) -> None:
    """A session keeps a question and an answer that were handled in different processes."""
    script = register_agent(stage, Script(polls=2))
    first = await stage.create(model=AGENT, input="one")
    await run_on(stage, first.id)
    second = await stage.create(model=AGENT, input="two", previous_response_id=first.id)
    await run_on(stage, second.id)
    assert [words.split() for words in script.asked[-1]] == [["one"], ["All", "well."], ["two"]]


async def test_equal_calls_before_and_after_a_token_are_distinguished(stage: Stage, tool: Weather) -> None:
    """A call of a tool before a token is part of the work. An equal call after it is made again."""
    turns = [[calls("weather", city="Bonn")], [calls("weather", city="Bonn")], says("Twice.")]
    register_agent(stage, Script(turns, polls=1), tool.weather)
    made = await stage.create(model=AGENT)
    await run_on(stage, made.id)
    assert tool.asked == ["Bonn", "Bonn"]
