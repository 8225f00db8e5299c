"""Gates that stay closed raise the alerts, although one probe an interval meets the upstream."""

from dataclasses import dataclass, field

import pytest

from shared.core.errors import UpstreamError, UpstreamUnavailable
from shared.core.states import WaitReason
from shared.engine import Engine
from shared.runtime.ports import Ports
from shared.scheduler.rounds import run_rounds
from tests.support.alert_queries import fires, matching
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.stage import Stage
from tests.support.upstream_pairs import Upstreams

FOREVER = 100  # tries
AWAY = UpstreamUnavailable("ConnectError")


def refused(status: int, retry_after_s: float | None) -> UpstreamUnavailable:
    """Return what an upstream says that refuses a create for now."""
    reason = WaitReason.RATE_LIMIT if status == 429 else WaitReason.UPSTREAM_DOWN
    return UpstreamUnavailable(f"status {status}", retry_after_s=retry_after_s, waits_for=reason)


@dataclass
class Fleet:
    """Processes that each have a heartbeat a minute, and a caller who creates a response each 30 s."""

    stage: Stage
    written: WrittenLines
    processes: list[Ports] = field(default_factory=list)

    async def start(self, count: int = 3) -> None:
        """Start further processes beside that of the stage."""
        self.processes = [self.stage.ports, *[await self.stage.new_ports(self.stage.clock) for _ in range(count - 1)]]
        for ports in self.processes[1:]:
            Engine(ports)

    async def minutes(self, count: int, model: str = "m") -> str:
        """Let minutes pass, and return what was written in them."""
        self.written.clear()
        for _ in range(count):
            for _ in range(2):
                await self.stage.create(model=model)
                self.stage.clock.advance(30)
            for ports in self.processes:
                await run_rounds(ports)
            await self.stage.gate_tasks.finished()
        return self.written.text


@pytest.fixture
async def fleet(stage: Stage, written: WrittenLines) -> Fleet:
    """Return three processes."""
    found = Fleet(stage, written)
    await found.start()
    return found


@pytest.mark.parametrize(
    ("error", "alert"),
    [
        (refused(503, 600), "upstream-down"),
        (refused(503, 150), "upstream-down"),
        (refused(503, None), "upstream-down"),
        (UpstreamUnavailable("status 401", waits_for=WaitReason.CREDENTIALS), "upstream-down"),
        (refused(429, 600), "throttled"),
        (refused(429, 60), "throttled"),
        (refused(429, None), "throttled"),
    ],
    ids=str,
)
async def test_an_upstream_that_refuses_every_create_raises_its_alert(
    fleet: Fleet, error: UpstreamError, alert: str
) -> None:
    """Within minutes, and then for as long as it does. The other alert is silent."""
    fleet.stage.upstream.start_errors = [error] * FOREVER
    width = 5 if alert == "upstream-down" else 6
    for _ in range(3):
        told = await fleet.minutes(width)
        assert fires(alert, told)
        assert not matching("throttled" if alert == "upstream-down" else "upstream-down", told)


async def test_a_minute_at_a_closed_gate_is_one_line_over_all_processes(fleet: Fleet) -> None:
    """With the reason, and how many wait. Once the upstream takes work again, there is none."""
    fleet.stage.upstream.start_errors = [refused(503, 240)]
    await fleet.minutes(3)
    lines = [line for line in log_lines(fleet.written) if line["event"] == "gate.closed"]
    seen = [(one["gate"], one["waits_for"], one["phase"], one["waiting"]) for one in lines]
    assert seen == [("default", "upstream_down", "closed", waiting) for waiting in (2, 4, 6)]
    await fleet.minutes(1)  # with the probe
    assert "gate.closed" not in await fleet.minutes(3)


async def test_a_short_refusal_raises_no_alert(fleet: Fleet) -> None:
    """The gate is closed for one heartbeat of each process. The next one finds it open."""
    fleet.stage.upstream.start_errors = [refused(503, 60)]
    assert not fires("upstream-down", await fleet.minutes(5))
    fleet.stage.upstream.start_errors = [refused(429, 120)]
    assert not fires("throttled", await fleet.minutes(15))


@pytest.mark.parametrize(
    ("error", "alert", "width"), [(AWAY, "upstream-down", 5), (refused(429, 30), "throttled", 15)], ids=str
)
async def test_a_first_upstream_whose_work_goes_elsewhere_raises_its_alert(
    fleet: Fleet, error: UpstreamError, alert: str, width: int
) -> None:
    """No response waits, because another upstream takes them. That the first one is away must be known all the same."""
    both = Upstreams(fleet.stage)
    await fleet.start()
    both.eu.start_errors = [error] * FOREVER
    told = await fleet.minutes(width, "gpt-5")
    assert both.begun == (0, 2 * width)
    assert "start.deferred" not in told
    assert fires(alert, told)
