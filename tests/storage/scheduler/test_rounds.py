"""Rounds of gates beside the heartbeat: what a dead process has left behind goes on."""

import asyncio

from shared.core.errors import UpstreamUnavailable
from shared.core.states import Status
from shared.scheduler.rounds import run_rounds
from tests.support.log_capture import WrittenLines, log_events, log_lines
from tests.support.stage import Stage

AWAY = UpstreamUnavailable("ConnectError")


async def test_without_gates_a_round_is_one_query(stage: Stage) -> None:
    """Nothing waits, and nothing was refused."""
    await stage.create()
    before = stage.proxy.counts.copy()
    await run_rounds(stage.ports)
    assert stage.proxy.counts - before == {"GET responses()": 1}


async def test_a_round_grants_what_a_dead_process_had_closed(stage: Stage) -> None:
    """The process that closed the gate kept its time. Another one goes on, a minute later at most."""
    stage.upstream.start_errors = [AWAY]
    made = await stage.create()
    await stage.crash()
    stage.clock.advance(60)
    await run_rounds(stage.ports)
    await stage.gate_tasks.finished()
    assert (await stage.record(made.id)).upstream.token
    await stage.finish(made.id)
    await asyncio.gather(*stage.ports.background.tasks)
    assert await stage.ports.gates.registered() == []


async def test_a_round_goes_on_with_a_grant_that_was_not_acted_on(stage: Stage) -> None:
    """A process that dies between its grant and the start leaves an alarm at the deadline."""
    stage.treat(limits={"*": 1})
    first, second = await stage.create(), await stage.create()
    await stage.finish(first.id)
    await stage.gate_tasks.stopped()
    stage.clock.advance(61)
    await run_rounds(stage.ports)
    await stage.gate_tasks.finished()
    assert (await stage.finish(second.id)).status is Status.COMPLETED


async def test_a_round_tells_how_long_the_line_is(stage: Stage, written: WrittenLines) -> None:
    """One is at work and two wait. A gate without rows has no line."""
    await run_rounds(stage.ports)
    assert "gate.seen" not in log_events(written)
    stage.treat(limits={"*": 1})
    for _ in range(3):
        await stage.create()
    await run_rounds(stage.ports)
    (seen,) = [line for line in log_lines(written) if line["event"] == "gate.seen"]
    assert (seen["gate"], seen["phase"], seen["used"], seen["waiting"]) == ("default", "open", 1, 2)


async def test_storage_that_fails_stops_no_heartbeat(stage: Stage, written: WrittenLines) -> None:
    """The next one looks again. A line says what was missed."""
    async with stage.proxy.refusing():
        await run_rounds(stage.ports)
    stage.upstream.start_errors = [AWAY]
    await stage.create()
    stage.proxy.refuse(lambda request: "gate%3A" in request.path or "gate:" in request.path)
    await run_rounds(stage.ports)
    assert [name for name in log_events(written) if name.endswith(".missed")] == ["gates.missed", "gate.missed"]
