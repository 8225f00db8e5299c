"""The infrastructure, as the compiler evaluates it, has no fault that a check finds."""

import pytest

from tests.infra.checks import CHECKS, Check
from tests.infra.project import Project


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_the_infrastructure_passes(check: Check, real: Project) -> None:
    """No check finds a fault in any variant. The docstring of each check says what it requires."""
    assert list(check(real)) == []
