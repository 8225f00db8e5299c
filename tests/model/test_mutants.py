"""The model finds what it is there for: each fault that is planted in a copy of the engine."""

import subprocess
import sys

import pytest

from tests.model.mutants import MUTANTS, ROOT, Mutant, hunt
from tests.model.scenarios import NAMES, play


@pytest.mark.timeout(280)
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_a_planted_fault_is_found(mutant: Mutant) -> None:
    """The search stops at the first violation. The mutant has a seed that finds it soon, or the steps that do."""
    is_found, said = hunt(mutant)
    assert is_found, f"{mutant.breaks}\n{said[-4_000:]}"


@pytest.mark.parametrize("name", NAMES)
def test_a_rare_order_of_steps_violates_nothing(name: str) -> None:
    """Each scenario holds without a planted fault, and finds at least one."""
    play(name)
    assert name in {mutant.scenario for mutant in MUTANTS}


def test_there_are_at_least_fifteen_planted_faults() -> None:
    """Each has a name of its own."""
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 15


def test_a_name_that_no_mutant_has_is_an_error() -> None:
    """The program ends before it hunts, also for the names that are right. It lists the names that there are."""
    command = [sys.executable, "-m", "tests.model.mutants", MUTANTS[0].name, "no-such"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "there is no mutant no-such." in done.stderr
    assert all(mutant.name in done.stderr for mutant in MUTANTS)
