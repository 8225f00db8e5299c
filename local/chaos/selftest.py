"""The self-test: each planted fault, and the app as it is, under a short plan. Each fault must be found."""

import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from local.chaos.mutants import MUTANTS, Mutant
from local.chaos.plan import CALLS_PER_S, GATED_SHARE, Plan, make_plan
from local.chaos.run import Report, run
from local.chaos.world.apps import copied

CONTROL = Mutant("nothing is planted", (), seconds=30)


@dataclass(frozen=True)
class Finding:
    """What the audit has found in the app with one fault planted, and after how many seconds."""

    mutant: Mutant
    violations: tuple[str, ...]
    after_s: float

    @property
    def checks(self) -> tuple[str, ...]:
        """The names of the checks that failed."""
        return tuple(sorted({violation.partition(":")[0] for violation in self.violations}))

    @property
    def is_right(self) -> bool:
        """Whether a check that must find this fault has, or nothing was found where nothing is planted."""
        if not self.mutant.changes:
            return not self.violations
        return not set(self.mutant.finders).isdisjoint(self.checks)


def plan_for(mutant: Mutant, seed: int) -> Plan:
    """Return the plan under which a planted fault is looked for."""
    gated = 1.0 if mutant.gated else GATED_SHARE
    rate = 2 * CALLS_PER_S if mutant.gated else CALLS_PER_S
    return make_plan(seed, mutant.seconds, mutant.faults, calls_per_s=rate, gated=gated, streams=mutant.streams)


def find(mutant: Mutant, seed: int, say: Callable[[str], None]) -> Finding:
    """Run the app with a fault planted until something is violated."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        app = copied(Path(directory) / "planted", mutant.changes)
        report: Report = run(plan_for(mutant, seed), Path(directory), say, app, stops_at_first=bool(mutant.changes))
    return Finding(mutant, tuple(report.ledger.violations), round(time.monotonic() - began, 1))


def selftest(seed: int, say: Callable[[str], None], only: str = "") -> bool:
    """Plant each fault, print a table of what was found, and return whether each was found and nothing else.

    `only` is a part of the names of those to plant. If none has it, nothing was shown.
    """
    findings = list[Finding]()
    for mutant in (CONTROL, *MUTANTS):
        if only in mutant.name:
            say(f"\nplanted: {mutant.name}")
            findings.append(find(mutant, seed, say))
            for violation in findings[-1].violations:
                say(f"  {violation[:300]}")
    say("\n| planted | found by | after |\n|---|---|---|")
    for one in findings:
        found = "; ".join(one.checks) or ("nothing, as it must be" if one.is_right else "**not found**")
        found += "" if one.is_right or not one.checks else ", **which is something else**"
        say(f"| {one.mutant.name} | {found} | {one.after_s:.0f} s |")
    say(f"found {sum(one.is_right for one in findings)} of {len(findings)}")
    return bool(findings) and all(one.is_right for one in findings)
