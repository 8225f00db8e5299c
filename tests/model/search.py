"""Searches for a run of the model that violates an invariant: `python -m tests.model.search --examples 1000 --seed 3`.

The same seed makes the same runs. Exits with 3 if there is one, after printing its steps and what it violates. A fault
that only breaks the program is no finding.
"""

import argparse
import contextlib
import sys
import time
import traceback

from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.model import scenarios
from tests.model.audit import Violated
from tests.model.machine import Service
from tests.model.silence import Nowhere

STEPS = 25
FOUND = 3
MOST_TOLD = 2_000


def search(first_seed: int, examples: int, *, shrinks: bool = True, steps: int = STEPS) -> None:
    """Make runs of the model. Raises what the first one raises that violates an invariant."""
    phases = (Phase.generate, Phase.shrink) if shrinks else (Phase.generate,)
    chosen = settings(
        max_examples=examples,
        stateful_step_count=steps,
        phases=phases,
        deadline=None,
        database=None,
        print_blob=False,
        report_multiple_bugs=False,
        suppress_health_check=list(HealthCheck),
    )
    machine = seed(first_seed)(type("Seeded", (Service,), {}))
    with contextlib.redirect_stdout(Nowhere()):
        run_state_machine_as_test(machine, settings=chosen)


def main() -> int:
    """Search as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=1_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--first", action="store_true", help="stop at the first violation, and do not shorten it")
    parser.add_argument("--scenario", choices=scenarios.NAMES, help="make these fixed runs instead")
    asked = parser.parse_args()
    print(asked.scenario or f"seed {asked.seed}, {asked.examples} runs of {asked.steps} steps")
    began_s = time.monotonic()
    try:
        if asked.scenario:
            scenarios.play(asked.scenario)
        else:
            search(asked.seed, asked.examples, shrinks=not asked.first, steps=asked.steps)
    except Violated as error:  # anything else that the runs raise is no finding, and ends the search with another code
        traceback.print_exception(error)
        print(f"run {Service.runs}: {type(error).__name__}: {error}"[:MOST_TOLD].splitlines()[0], file=sys.stderr)
        return FOUND
    print(f"no violation in {time.monotonic() - began_s:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
