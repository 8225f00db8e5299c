"""The health of the upstreams: what a process tells that has seen little of an outage, or nothing."""

from dataclasses import replace

import pytest

from shared.core.errors import Unavailable, UpstreamUnavailable
from shared.core.gates.state import place_of
from shared.core.states import WaitReason
from shared.engine import Engine
from shared.gates.gates import SHUT_S
from shared.runtime.ports import Ports
from shared.scheduler import upstream_health
from shared.scheduler.rounds import run_rounds
from shared.upstreams.health import UNSEEN, Sight, UpstreamState
from shared.upstreams.specs import UpstreamSpec
from tests.support.clocks import START_MS, Clock
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.stage import Stage
from tests.support.turns import next_turn
from tests.support.upstream_pairs import Upstreams

AWAY = UpstreamUnavailable("status 503", retry_after_s=600)
KEYLESS = UpstreamUnavailable("status 401", waits_for=WaitReason.CREDENTIALS)
BUSY = UpstreamUnavailable("status 429", retry_after_s=600, waits_for=WaitReason.RATE_LIMIT)
DETAIL = "its gate is closed"


class Seen(ScriptedUpstream):
    """An upstream as the calls of the process have seen it."""

    def __init__(self, seen: Sight = UNSEEN, *, has_credential: bool = True) -> None:
        super().__init__()
        self.seen, self.has_credential = seen, has_credential

    async def check(self) -> None:
        """Raise UpstreamUnavailable if it has no credential."""
        if not self.has_credential:
            raise UpstreamUnavailable("no credential for the upstream", waits_for=WaitReason.CREDENTIALS)


class PassingClock(Clock):
    """A clock whose durations follow the wall clock of the test, too."""

    def elapsed_s(self) -> float:
        """Return the seconds that the test has let pass."""
        return self.ms / 1000


async def another(stage: Stage, clock: Clock | None = None) -> Ports:
    """Return the ports of a process that starts now."""
    ports = await stage.new_ports(clock or stage.clock)
    Engine(ports)
    return ports


def default(ports: Ports) -> Sight:
    """Return how the default upstream is seen."""
    return upstream_health.sights(ports)["default"]


@pytest.mark.parametrize(("error", "reason"), [(AWAY, "upstream_down"), (KEYLESS, "credentials")], ids=str)
async def test_a_process_that_starts_in_an_outage_knows_of_it(
    stage: Stage, error: UpstreamUnavailable, reason: str
) -> None:
    """Its first heartbeat looks at the gate. To tell of it costs no request of storage."""
    stage.upstream.start_errors = [error]
    await stage.create()
    ports = await another(stage)
    assert default(ports) == UNSEEN
    stage.clock.advance(0.5)
    await run_rounds(ports)
    before = stage.proxy.counts.copy()
    since_s = START_MS / 1000 + 0.5
    assert default(ports) == Sight(UpstreamState.DOWN, since_s, reason, DETAIL)
    assert stage.proxy.counts == before


async def test_an_upstream_is_down_for_as_long_as_its_retry_after(stage: Stage) -> None:
    """What its calls have shown is long forgotten by then. The same is true while a probe is under way."""
    stage.upstream.start_errors = [AWAY]
    made = await stage.create()
    for _ in range(9):
        stage.clock.advance(65)
        assert default(stage.ports) == Sight(UpstreamState.DOWN, START_MS / 1000, "upstream_down", DETAIL)
    gate = stage.upstream.hold_starts()
    stage.clock.advance(15)
    await run_rounds(stage.ports)
    await gate.reached.wait()
    assert default(stage.ports).state is UpstreamState.DOWN
    gate.open()
    await stage.gate_tasks.finished()
    assert (await stage.record(made.id)).upstream.token
    assert default(stage.ports) == UNSEEN


async def test_an_upstream_that_is_busy_is_not_down(stage: Stage) -> None:
    """It has closed its gate, and is there."""
    stage.upstream.start_errors = [BUSY]
    await stage.create()
    assert [gate.reason for gate in stage.ports.gates.shut()] == ["rate_limit"]
    assert default(stage.ports) == UNSEEN


async def test_what_the_calls_have_shown_is_told_with_the_gate(stage: Stage) -> None:
    """They know since when, and what was seen. A gate is also that of one model."""
    calls = Sight(UpstreamState.UNKNOWN, START_MS / 1000 - 20, "upstream_down", "ConnectError")
    upstream = Seen(calls)
    stage.cast(upstream)
    stage.treat(limits={"gpt-*": 1})
    upstream.start_errors = [AWAY]
    await stage.create(model="gpt-5")
    assert default(stage.ports) == replace(calls, state=UpstreamState.DOWN)
    upstream.seen = Sight(UpstreamState.UP, START_MS / 1000)
    assert default(stage.ports) == Sight(UpstreamState.DOWN, START_MS / 1000, "upstream_down", DETAIL)


async def test_only_the_upstream_that_is_away_is_down(stage: Stage) -> None:
    """The one that takes its work is not."""
    both = Upstreams(stage)
    both.eu.start_errors = [AWAY]
    await stage.create(model="gpt-5")
    seen = upstream_health.sights(stage.ports)
    assert {name: one.state for name, one in seen.items()} == {"eu": "down", "us": "unknown", "default": "unknown"}
    stage.remove_upstreams()
    assert default(stage.ports) == UNSEEN


async def test_a_process_sees_that_another_one_has_opened_the_gate(stage: Stage) -> None:
    """The gate has no rows then, so no round looks at it. That it has none is seen within a minute."""
    stage.upstream.start_errors = [UpstreamUnavailable("ConnectError")]
    made = await stage.create()
    clock = PassingClock(stage.clock.ms)
    ports = await another(stage, clock)
    await run_rounds(ports)
    await next_turn(stage.ports, stage.clock, stage.gate_tasks)
    await stage.finish(made.id)
    await stage.deliver()
    assert await stage.ports.gates.registered() == []
    clock.ms = stage.clock.ms
    assert default(ports).state is UpstreamState.DOWN
    await run_rounds(ports)
    assert default(ports) == UNSEEN


async def test_what_no_round_has_looked_at_is_forgotten_after_its_time(stage: Stage) -> None:
    """Storage fails, or the process sleeps. That a gate is closed until a time is known till then."""
    stage.upstream.start_errors = [AWAY]
    await stage.create()
    clock = PassingClock(stage.clock.ms)
    ports = await another(stage, clock)
    await run_rounds(ports)
    clock.advance(SHUT_S + 1)
    assert default(ports).state is UpstreamState.DOWN
    clock.advance(600)
    assert default(ports) == UNSEEN


async def test_a_gate_that_is_refused_and_empty_says_nothing_later(stage: Stage) -> None:
    """Nobody asks there. A gate with a limit keeps its row."""
    stage.treat(limits={"*": 1})
    gate = stage.ports.upstreams.gate_named("default")
    made = await stage.create()
    place = place_of(await stage.record(made.id))
    await stage.ports.gates.refuse(gate, place, retry_after_s=9, reason="upstream_down", stays=False)
    assert default(stage.ports).state is UpstreamState.DOWN
    stage.clock.advance(9)
    assert default(stage.ports) == UNSEEN


# Credentials


@pytest.mark.parametrize("has", [(True, True), (True, False), (False, True)])
async def test_credentials_for_one_upstream_are_enough(stage: Stage, has: tuple[bool, bool]) -> None:
    """Responses are accepted, and those of the other upstream wait with their reason."""
    stage.cast(Seen(has_credential=has[0]))
    stage.add_upstream(UpstreamSpec("eu"), Seen(has_credential=has[1]))
    await stage.engine.check()


async def test_without_any_credential_the_process_is_not_ready(stage: Stage) -> None:
    """The answer names the upstreams."""
    stage.cast(Seen(has_credential=False))
    with pytest.raises(Unavailable, match="the upstream 'default'"):
        await stage.engine.check()
    stage.add_upstream(UpstreamSpec("eu"), Seen(has_credential=False))
    with pytest.raises(Unavailable, match="any of the upstreams 'eu', 'default'"):
        await stage.engine.check()
