"""The phases of a gate: what a refusal closes, and how it opens again."""

from dataclasses import replace

import pytest

from shared.core.gates import phases
from shared.core.gates.phases import LAST_STEP, PROBING_MS, STEP_MS
from shared.core.gates.state import GateState, Phase
from tests.support.gate_places import NOW_MS, line, state_of

WAITING = state_of(line("ann", *range(10)))


def closed(state: GateState = WAITING, at_ms: int = NOW_MS, retry_after_s: float | None = None) -> GateState:
    """Return a gate after a refusal."""
    return phases.close(state, at_ms, retry_after_s, "rate_limit")


def probing() -> GateState:
    """Return a gate that has granted its probe."""
    return phases.granted(closed(), NOW_MS + 1_000)


@pytest.mark.parametrize(
    ("asked_s", "expected_ms"),
    [(None, 1_000), (0.0, 1_000), (0.2, 1_000), (7.5, 7_500), (600.0, 600_000), (86_400.0, 600_000)],
)
def test_a_gate_is_closed_for_as_long_as_the_upstream_asks(asked_s: float | None, expected_ms: int) -> None:
    """Retry-After is honoured from 1 s to 10 min. Without it the gate is closed for 1 s."""
    state = closed(retry_after_s=asked_s)
    assert (state.phase, state.until_ms - NOW_MS, state.reason) == (Phase.CLOSED, expected_ms, "rate_limit")


def test_closings_in_a_row_last_longer() -> None:
    """Without Retry-After the time doubles with each closing, up to a minute, until the gate has been open."""
    state, waits_ms = WAITING, []
    for _ in range(12):
        state = closed(replace(state, phase=Phase.PROBING))
        waits_ms.append(state.until_ms - NOW_MS)
    assert waits_ms == [1_000, 2_000, 4_000, 8_000, 16_000, 32_000, *[60_000] * 6]
    assert closed(phases.opened(state)).until_ms == NOW_MS + 1_000


def test_refusals_of_a_closed_gate_count_once() -> None:
    """A burst of refusals is one closing. The latest time that was asked for stays."""
    state = closed(closed(), NOW_MS + 500)
    assert (state.closings, state.until_ms) == (1, NOW_MS + 1_500)
    assert closed(closed(retry_after_s=30.0), NOW_MS + 500).until_ms == NOW_MS + 30_000


def test_a_closed_gate_grants_nothing_until_its_time_and_then_one() -> None:
    """The one is a probe. While it is under way, nothing else is granted for 30 s."""
    assert phases.free(closed(), None, NOW_MS + 999) == 0
    assert phases.free(closed(), 5, NOW_MS + 1_000) == 1
    state = probing()
    assert (state.phase, state.until_ms) == (Phase.PROBING, NOW_MS + 1_000 + PROBING_MS)
    assert phases.free(state, None, state.until_ms - 1) == 0
    assert phases.free(state, None, state.until_ms) == 1


@pytest.mark.parametrize("state", [WAITING, closed(), replace(WAITING, phase=Phase.STEPPING, step=4, left=1)])
def test_an_acceptance_counts_only_for_a_probe(state: GateState) -> None:
    """Work that was accepted before the refusal says nothing about the time after it."""
    assert phases.accept(state, NOW_MS) == state


def test_a_probe_that_is_given_back_lets_the_next_one_go() -> None:
    """Only the response that was the probe does, and only until the upstream has answered."""
    state = phases.granted(closed(), NOW_MS + 1_000, "probe")
    back = phases.unused(state, "probe", NOW_MS + 2_000)
    assert (back.phase, phases.free(back, None, NOW_MS + 2_000)) == (Phase.PROBING, 1)
    assert phases.unused(back, "probe", NOW_MS + 3_000) == back
    assert phases.unused(state, "another", NOW_MS + 2_000) == state
    for later in (phases.accept(state, NOW_MS), closed(state), phases.opened(state)):
        assert phases.unused(later, "probe", NOW_MS + 2_000) == later


def test_a_probe_that_fails_lets_the_next_one_go_after_a_pause() -> None:
    """The pause is that of the last closing without a Retry-After. It never makes the time of the probe longer."""
    state, failed_ms = phases.granted(closed(), NOW_MS + 1_000, "probe"), NOW_MS + 1_200
    back = phases.failed(state, "probe", failed_ms)
    assert (back.phase, back.until_ms - failed_ms) == (Phase.PROBING, 1_000)
    assert phases.failed(back, "probe", failed_ms + 500) == back
    waits_ms = [phases.failed(replace(state, closings=n), "probe", failed_ms).until_ms - failed_ms for n in range(7)]
    assert waits_ms == [1_000, 1_000, 2_000, 4_000, 8_000, 16_000, PROBING_MS - 200]


def test_a_failure_counts_only_for_the_probe() -> None:
    """A response that began before the refusal says nothing about the time after it."""
    state = phases.granted(closed(), NOW_MS + 1_000, "probe")
    assert phases.failed(state, "another", NOW_MS + 2_000) == state
    for later in (phases.accept(state, NOW_MS), closed(state), phases.opened(state)):
        assert phases.failed(later, "probe", NOW_MS + 2_000) == later


def test_grants_double_each_second_after_an_accepted_probe() -> None:
    """Two in the first second, then twice as many in each, until the gate is open."""
    state, now_ms, steps = phases.accept(probing(), NOW_MS), NOW_MS, []
    while state.phase is Phase.STEPPING:
        steps.append(phases.free(state, None, now_ms))
        now_ms += STEP_MS
        state = phases.advance(state, now_ms)
    assert steps == [2, 4, 8, 16, LAST_STEP // 2]
    assert state == WAITING


def test_a_step_is_used_up_and_lasts_a_second() -> None:
    """Each grant takes one of the step. A clock that is far ahead doubles it once."""
    state = phases.granted(phases.accept(probing(), NOW_MS), NOW_MS)
    assert phases.free(state, None, NOW_MS) == 1
    assert phases.advance(state, NOW_MS + STEP_MS - 1) == state
    assert phases.advance(state, NOW_MS + 60_000).step == 4
    assert phases.free(phases.granted(state, NOW_MS), None, NOW_MS) == 0


def test_a_gate_opens_when_nobody_waits() -> None:
    """An accepted probe opens a gate without a line."""
    alone = replace(probing(), lines={})
    assert phases.accept(alone, NOW_MS).phase is Phase.OPEN
    assert phases.settle(closed()) == closed()


def test_the_limit_holds_in_every_phase() -> None:
    """No phase allows more than the limit, and a lowered limit allows nothing until enough permits are given back."""
    for state in (WAITING, replace(closed(), until_ms=0), replace(WAITING, phase=Phase.STEPPING, step=8, left=8)):
        assert phases.free(replace(state, used=3), 3, NOW_MS) == 0
        assert phases.free(replace(state, used=40), 3, NOW_MS) == 0
    assert phases.free(replace(WAITING, used=1), 3, NOW_MS) == 2
    assert phases.free(WAITING, None, NOW_MS) is None
    assert phases.granted(WAITING, NOW_MS) == WAITING


def test_a_quiet_gate_has_nothing_to_keep() -> None:
    """Neither a permit nor a place, and no refusal that still counts."""
    assert phases.is_quiet(GateState(), NOW_MS)
    assert not phases.is_quiet(GateState(used=1), NOW_MS)
    assert not phases.is_quiet(WAITING, NOW_MS)
    refused = closed(GateState())
    assert not phases.is_quiet(refused, NOW_MS)
    assert phases.is_quiet(refused, refused.until_ms)


def test_a_gate_is_shut_until_its_time_and_then_as_long_as_responses_wait() -> None:
    """Without them nobody asks, so nothing is known. A gate that opens by steps lets work through."""
    for state in (closed(), probing()):
        assert phases.is_shut(state, state.until_ms)
        alone = replace(state, lines={})
        assert phases.is_shut(alone, alone.until_ms - 1)
        assert not phases.is_shut(alone, alone.until_ms)
    assert not phases.is_shut(WAITING, NOW_MS)
    assert not phases.is_shut(phases.accept(probing(), NOW_MS), NOW_MS)
