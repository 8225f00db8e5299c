"""The tries of one holder: what is counted before a try, and what a failed one leaves. Whole runs are elsewhere."""

from typing import Any

import pytest

from shared.core.errors import UpstreamRefused, UpstreamUnavailable, UpstreamUncertain
from shared.core.ids import new_id
from shared.core.records import Record, RequestInfo
from shared.runs.lease import Lost, RunLease
from shared.runs.start_tries import StartTries
from shared.starts import run_submission
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.stage import ANN, Stage

AWAY = UpstreamUnavailable("ConnectError")
CUT = UpstreamUncertain("ReadError")
REQUEST: dict[str, Any] = {"model": "m", "input": "q"}


@pytest.fixture
async def lease(stage: Stage) -> RunLease:
    """Accept a run that this process holds, and return its lease."""
    now_ms = stage.clock.now_ms()
    record = Record(new_id(), ANN.name, now_ms, now_ms + 60_000, request=RequestInfo(model="m", background=True))
    change = await run_submission.submit_run(stage.ports, record, REQUEST, held=True)
    assert change.alarm
    return RunLease(stage.ports, change.record, change.alarm, 30_000)


@pytest.fixture
def tries(stage: Stage, lease: RunLease) -> StartTries:
    """Return the tries of a run that this process holds."""
    return StartTries(stage.ports, lease, REQUEST)


async def test_a_holder_whose_lease_is_past_asks_who_has_the_run(
    stage: Stage, lease: RunLease, tries: StartTries
) -> None:
    """It makes no try if the run was offered to another process meanwhile, and it makes one if it was not."""
    stage.clock.ms = lease.alarm.due_ms
    await tries.begin()
    await stage.sweep(lease.record.id)
    with pytest.raises(Lost):
        await tries.begin()


async def test_the_first_try_is_counted_with_the_run(tries: StartTries) -> None:
    """A later one is counted before it is made, unless the one before has begun nothing."""
    seen = [tries.has_unused]
    await tries.begin()
    assert [*seen, tries.has_unused] == [True, False]
    assert tries.are_about(CUT)
    assert not tries.are_about(UpstreamRefused(400, "No."))
    free = tries.following(AWAY)
    assert free
    assert (free.counted, tries.has_unused, tries.are_about(CUT)) == (0, True, False)
    await tries.begin()
    counted = tries.following(CUT)
    assert counted
    assert (counted.counted, tries.has_unused) == (1, False)


async def test_every_try_that_may_repeat_work_is_logged(tries: StartTries, written: WrittenLines) -> None:
    """One holder may make several. What began nothing is not repeated."""
    seen = []
    for error in (AWAY, CUT, AWAY, CUT, None):
        written.clear()
        await tries.begin()
        seen.append([(line["event"], line["counted"]) for line in log_lines(written)])
        if error:
            tries.following(error)
    assert seen == [[], [], *([("start.repeated", n)] for n in (2, 2, 3))]


async def test_an_accepted_try_is_over(tries: StartTries) -> None:
    """What follows is no try."""
    await tries.begin()
    tries.end()
    assert not tries.has_unused
    assert not tries.are_about(CUT)


async def test_a_single_upstream_leaves_nowhere_to_go(tries: StartTries) -> None:
    """The try then follows at the same one."""
    await tries.begin()
    assert await tries.move(AWAY) is None


async def test_a_run_that_was_cancelled_while_it_entered_the_line_leaves_it(
    stage: Stage, lease: RunLease, tries: StartTries
) -> None:
    """It would be granted the next permit, and keep that for five minutes."""
    await tries.begin()
    await stage.engine.cancel(ANN, lease.record.id)
    with pytest.raises(Lost):
        await tries.wait_in_line(AWAY)
    await stage.gate_tasks.finished()
    state = await stage.ports.gates.look(stage.ports.upstreams.gate_named("default"))
    assert state
    assert state.waiting == 0
