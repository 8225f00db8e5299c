"""The self-test of `make chaos`: when a planted fault counts as found."""

import pytest

from local.chaos.mutants import MUTANTS, Mutant
from local.chaos.selftest import CONTROL, Finding
from local.stack.process import ROOT

CHECKS = "".join(
    path.read_text(encoding="utf-8") for path in (ROOT / "local" / "chaos").rglob("*.py") if path.name != "mutants.py"
)
FAULT = Mutant("a fault", MUTANTS[0].changes, finders=("nothing is overdue",))


@pytest.mark.parametrize(
    ("mutant", "violations", "is_right"),
    [
        (FAULT, ("nothing is overdue: alarm|1",), True),
        (FAULT, ("no 5xx but 503: GET /", "nothing is overdue: alarm|1"), True),
        (FAULT, ("no 5xx but 503: GET /",), False),
        (FAULT, (), False),
        (CONTROL, (), True),
        (CONTROL, ("nothing is overdue: alarm|1",), False),
    ],
)
def test_a_fault_is_found_by_a_check_that_is_named_for_it(
    mutant: Mutant, violations: tuple[str, ...], is_right: bool
) -> None:
    """Another violation shows something else. Where nothing is planted, there must be none."""
    assert Finding(mutant, violations, 1.0).is_right is is_right


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_planted_fault_names_checks_that_there_are(mutant: Mutant) -> None:
    """One that there is not would let the fault count as missed for ever."""
    assert mutant.finders
    assert [name for name in mutant.finders if f'"{name}"' not in CHECKS] == []
