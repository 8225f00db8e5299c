"""A wrong clock: the wall clock of this process is shifted, as that of a machine whose clock is not synchronised."""

import time
from collections.abc import Mapping

SETTING = "LOCAL_CLOCK_SKEW_S"
MOST_S = 3600.0


def shift_clock(environment: Mapping[str, str]) -> None:
    """Shift `time.time` and `time.time_ns` of this process by the seconds that LOCAL_CLOCK_SKEW_S names, if it does.

    Only the local host has this. What measures durations is not shifted. Raise ValueError if it is not a number of at
    most an hour, in either direction.
    """
    shift_s = float(environment.get(SETTING) or 0)
    if not abs(shift_s) <= MOST_S:
        raise ValueError(f"{SETTING} must be seconds, from -{MOST_S:g} to {MOST_S:g}")
    if shift_s:
        _replace(int(shift_s * 1e9))


def _replace(shift_ns: int) -> None:
    real_ns = time.time_ns
    shifted = {"time_ns": lambda: real_ns() + shift_ns, "time": lambda: (real_ns() + shift_ns) / 1e9}
    for name, clock in shifted.items():
        setattr(time, name, clock)
