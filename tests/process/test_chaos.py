"""`make chaos`, scaled down: three hosts under mixed load while every kind of fault happens once, and the whole audit.

`CHAOS_SEED` in the environment repeats the faults and calls, but not the lines at which they land.
"""

from pathlib import Path

import pytest

from local.chaos.plan import Kind, make_plan
from local.chaos.report import lines
from local.chaos.run import run
from tests.support.stage import Say

SECONDS = 30.0


@pytest.mark.timeout(600)
def test_nothing_is_lost_doubled_or_contradicted_while_everything_fails(tmp_path: Path, seed: int, say: Say) -> None:
    """Every kind of fault is tried, and no check of the audit fails. It takes 60 s, or 150 s on a busy machine.

    A fault that meets another one, such as a purge while storage is stopped, may not be possible.
    """
    plan = make_plan(seed, SECONDS)
    report = run(plan, tmp_path, say)
    told = "\n".join(lines(report))
    say(f"{len(plan.calls)} calls, {report.responses} responses, {sum(report.ledger.checks.values())} checks")
    assert report.holds, told
    tried = {name.removesuffix(", not possible") for name in report.faults}
    assert tried >= set(Kind), told
    assert sum(report.faults[kind] for kind in Kind) >= len(Kind) - 2, told
    assert report.responses >= len(plan.calls) / 2, told
