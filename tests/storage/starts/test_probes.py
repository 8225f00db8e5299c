"""Probes: the one create that asks whether a closed upstream takes work again, and what its failure says."""

import pytest

from shared.core.errors import UpstreamError, UpstreamInvalid, UpstreamUnavailable, UpstreamUncertain
from shared.core.states import WaitReason
from shared.engine import Engine
from tests.support.clocks import START_MS
from tests.support.conditions import until
from tests.support.run_holders import driving, refused_runs
from tests.support.stage import Stage

BUSY = UpstreamUnavailable("status 429", waits_for=WaitReason.RATE_LIMIT)
FAILED = UpstreamUncertain("status 500")


@pytest.mark.parametrize("error", [FAILED, UpstreamUncertain("ReadError"), UpstreamInvalid()], ids=str)
async def test_probes_that_fail_hold_up_the_others_for_a_second_each(stage: Stage, error: UpstreamError) -> None:
    """The fault may be that of these requests. They were refused first, so they stand before the others."""
    stage.upstream.honours_keys = False
    stage.upstream.start_errors = [BUSY, error, error, error]
    made = []
    for _ in range(5):
        made.append(await stage.create())
        stage.clock.ms += 1  # older ones come first
    for _ in range(4):
        await stage.fire_gates()
    assert [bool((await stage.record(one.id)).upstream.token) for one in made] == [False] * 3 + [True] * 2
    assert (stage.clock.ms - START_MS) // 1_000 == 4


@pytest.mark.parametrize("is_granted_here", [True, False])
async def test_a_run_that_fails_as_a_probe_holds_up_no_other(stage: Stage, is_granted_here: bool) -> None:
    """The others wait for a second. A process that has not seen the gate reads the permit of its run."""
    readers, probe = await refused_runs(stage, 2, BUSY)
    stage.upstream.streams.run_errors = [FAILED]

    async def is_waiting() -> bool:
        return (await stage.record(probe.id)).wait.detail == str(FAILED)

    ports = stage.ports if is_granted_here else await stage.new_ports(stage.clock)
    running = driving(Engine(ports), probe.id, (await stage.record(probe.id)).run.epoch)
    await until(is_waiting)
    before_ms = stage.clock.ms
    await stage.fire_gates()
    assert stage.clock.ms - before_ms == 1_000
    assert all([(await stage.record(one.id)).run.alarm_key for one in readers])
    running.cancel()
