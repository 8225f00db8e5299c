"""The clock of a local host can be wrong, as that of a machine that is not synchronised."""

import os
import subprocess
import sys
import time

import pytest

from local.host.skew import SETTING, shift_clock
from local.stack.process import ROOT

PROGRAM = """
import os, time
from local.host.skew import shift_clock
before = time.monotonic()
shift_clock(os.environ)
print(time.time(), time.time_ns(), time.monotonic() - before)
"""


def clocks(skew: str) -> tuple[float, float, float]:
    """Return by how much the two wall clocks of a process are ahead of ours, and how far its durations moved, in s."""
    environment = {**os.environ, SETTING: skew}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=environment, cwd=ROOT, capture_output=True, check=True)
    wall_s, wall_ns, moved_s = (float(one) for one in done.stdout.split())
    return wall_s - time.time(), wall_ns / 1e9 - time.time(), moved_s


@pytest.mark.parametrize("skew", [600.0, -600.0])
def test_the_wall_clock_is_shifted_and_durations_are_not(skew: float) -> None:
    """Both `time.time` and `time.time_ns` are ahead by what the setting says. A monotonic clock goes on."""
    first_s, second_s, moved_s = clocks(str(skew))
    assert abs(first_s - skew) < 60
    assert abs(second_s - skew) < 60
    assert moved_s < 60


def test_without_the_setting_the_clock_is_right() -> None:
    """An empty setting is none."""
    assert abs(clocks("")[0]) < 60


@pytest.mark.parametrize("skew", ["soon", "nan", "3601", "-3601"])
def test_a_setting_that_is_no_small_number_is_refused(skew: str) -> None:
    """The setting must be seconds, at most an hour."""
    with pytest.raises(ValueError, match=r"LOCAL_CLOCK_SKEW_S|could not convert"):
        shift_clock({SETTING: skew})
