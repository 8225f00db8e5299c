"""The model check of the core: no run of the model violates an invariant of the design.

`make model` searches longer. CONTRIBUTING.md says what is real in it, and how to repeat a run.
"""

import os
import subprocess
import sys

import pytest

from tests.model.mutants import ROOT
from tests.model.search import search
from tests.model.trace import trace
from tests.support.stage import Say

RUNS = 25
RUNS_TO_COMPARE = 2


@pytest.mark.timeout(280)
def test_no_run_of_the_model_violates_an_invariant(say: Say) -> None:
    """`MODEL_SEED` chooses other runs than those of every day, which are always the same."""
    seed = int(os.environ.get("MODEL_SEED", "1"))
    say(f"MODEL_SEED={seed}, {RUNS} runs")
    search(seed, RUNS)


def test_the_same_seed_is_the_same_run() -> None:
    """Every transaction of a run, and the time of it, is the same again: here, and in a process with other hashes."""
    here = [trace(seed) for seed in range(RUNS_TO_COMPARE)]
    assert all(len(one) > 20 for one in here), "the runs write something"
    assert [trace(seed) for seed in range(RUNS_TO_COMPARE)] == here
    program = f"from tests.model.trace import trace; print([trace(seed) for seed in range({RUNS_TO_COMPARE})])"
    elsewhere = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env={**os.environ, "PYTHONHASHSEED": "4711"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert elsewhere.stdout.strip() == str(here)
