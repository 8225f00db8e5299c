"""The phases of a gate. One refusal closes it for everybody. Then one probe, and then more responses in each second.

Points in time are unix milliseconds, and the clocks of processes may differ. No phase lets more through than the limit.
"""

from dataclasses import replace

from shared.core.gates.state import GateState, Phase

CLOSED_MIN_S, CLOSED_MAX_S = 1.0, 60.0  # without Retry-After: the first closing, and the longest
RETRY_AFTER_MAX_S = 600.0
PROBING_MS = 30_000
STEP_MS = 1_000
FIRST_STEP, LAST_STEP = 2, 64  # grants in a second. At the last one, the gate is open


def close(state: GateState, now_ms: int, retry_after_s: float | None, reason: str) -> GateState:
    """Return the state after a refusal. `retry_after_s` is the upstream's wish in seconds, or None.

    Without it the gate is closed for a second, then for two, up to a minute. Several refusals while it is closed count
    once. An earlier wish for a later time stays.
    """
    is_new = state.phase is not Phase.CLOSED
    closings = state.closings + is_new
    if retry_after_s is None:
        wait_s = _back_off_s(closings)
    else:
        wait_s = min(max(retry_after_s, CLOSED_MIN_S), RETRY_AFTER_MAX_S)
    asked_ms = now_ms + int(wait_s * 1000)
    until_ms = asked_ms if is_new else max(state.until_ms, asked_ms)
    closed = replace(state, phase=Phase.CLOSED, until_ms=until_ms, reason=reason, probe="")
    return replace(closed, step=0, left=0, closings=closings)


def accept(state: GateState, now_ms: int) -> GateState:
    """Return the state after the upstream has accepted work, or has refused a request as wrong: it answers again.

    This ends the probing phase, and changes no other.
    """
    if state.phase is not Phase.PROBING:
        return state
    stepping = replace(state, phase=Phase.STEPPING, probe="", step=FIRST_STEP, left=FIRST_STEP)
    return settle(replace(stepping, until_ms=now_ms + STEP_MS))


def unused(state: GateState, response_id: str, now_ms: int) -> GateState:
    """Return the state after a response has given back its permit. If it was the probe, the next one may follow now.

    The upstream has not answered it: it ended before its create, or before the answer was told.
    """
    if state.phase is not Phase.PROBING or not response_id or response_id != state.probe:
        return state
    return replace(state, probe="", until_ms=min(state.until_ms, now_ms))


def failed(state: GateState, response_id: str, now_ms: int) -> GateState:
    """Return the state after a create has failed without telling whether the upstream takes work, such as by a 500.

    If it was the probe's, the next one may follow after a pause, which is as long as the last closing without a
    Retry-After. The fault may be that of this one request, and must not stop those behind it for the time of a probe.
    """
    if state.phase is not Phase.PROBING or not response_id or response_id != state.probe:
        return state
    pause_ms = int(_back_off_s(state.closings) * 1000)
    return replace(state, probe="", until_ms=min(state.until_ms, now_ms + pause_ms))


def _back_off_s(closings: int) -> float:
    """Return the seconds for which a gate is closed at its closing of this number, if nobody asked for a time."""
    return min(CLOSED_MAX_S, CLOSED_MIN_S * (1 << min(max(closings, 1) - 1, 10)))


def advance(state: GateState, now_ms: int) -> GateState:
    """Return the state at a time: a second of the stepping phase may be over.

    The step doubles once, however much time has passed. So a clock that is ahead does not open the gate at once.
    """
    if state.phase is not Phase.STEPPING or now_ms < state.until_ms:
        return state
    step = state.step * 2
    if step >= LAST_STEP:
        return opened(state)
    return replace(state, step=step, left=step, until_ms=now_ms + STEP_MS)


def settle(state: GateState) -> GateState:
    """Return the state in which a transaction leaves a gate: the stepping phase ends with the lines."""
    return opened(state) if state.phase is Phase.STEPPING and not state.waiting else state


def opened(state: GateState) -> GateState:
    """Return the state of the same gate, open."""
    return replace(state, phase=Phase.OPEN, until_ms=0, reason="", probe="", step=0, left=0, closings=0)


def free(state: GateState, limit: int | None, now_ms: int) -> int | None:
    """Return how many grants a gate allows now, or None if it allows any number."""
    under_limit = None if limit is None else max(0, limit - state.used)
    if state.phase is Phase.OPEN:
        return under_limit
    by_phase = state.left if state.phase is Phase.STEPPING else int(now_ms >= state.until_ms)
    return by_phase if under_limit is None else min(by_phase, under_limit)


def granted(state: GateState, now_ms: int, response_id: str = "") -> GateState:
    """Return the state after a grant to a response: the first one of a closed gate is a probe."""
    if state.phase is Phase.OPEN:
        return state
    if state.phase is Phase.STEPPING:
        return replace(state, left=max(0, state.left - 1))
    return replace(state, phase=Phase.PROBING, until_ms=now_ms + PROBING_MS, probe=response_id)


def is_shut(state: GateState, now_ms: int) -> bool:
    """Return whether a gate lets nothing through but a probe: until its time, and then as long as responses wait.

    Without them nobody asks after that time, so nothing is known any longer.
    """
    return state.phase in (Phase.CLOSED, Phase.PROBING) and (now_ms < state.until_ms or state.waiting > 0)


def is_quiet(state: GateState, now_ms: int) -> bool:
    """Return whether a gate has neither permits nor waiting responses, and no refusal that still counts."""
    is_over = state.phase is Phase.OPEN or now_ms >= state.until_ms
    return is_over and not state.used and not state.waiting
