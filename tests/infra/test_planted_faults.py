"""The checks find each fault that is planted in a copy of the files."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.infra.checks import CHECKS
from tests.infra.compiler import Compiler, Refused
from tests.infra.evaluated_faults import EVALUATED_FAULTS
from tests.infra.fault import Mutant
from tests.infra.landing_faults import LANDING_FAULTS
from tests.infra.project import Project, texts, written
from tests.infra.source_faults import SOURCE_FAULTS
from tests.infra.workbook_faults import WORKBOOK_FAULTS

ALL = [*SOURCE_FAULTS, *EVALUATED_FAULTS, *WORKBOOK_FAULTS, *LANDING_FAULTS]


@pytest.fixture(scope="module")
def originals() -> dict[str, str]:
    """Return the texts of the real files."""
    return texts()


@pytest.mark.parametrize("mutant", ALL, ids=lambda one: one.name)
def test_a_planted_fault_is_found(
    mutant: Mutant, compiler: Compiler, originals: dict[str, str], tmp_path: Path
) -> None:
    """Each planted fault is found by the check for its kind. Other checks may find it too.

    What the compiler finds is not evaluated, so all other faults are some that it takes.
    """
    assert mutant.old in originals[mutant.path]
    version = {**originals, mutant.path: originals[mutant.path].replace(mutant.old, mutant.new, 1)}
    project = Project(written(version, tmp_path), compiler, mutant.variants)
    if mutant.finder != "compiles":
        assert project.compiled.complaints == ()
    assert list(_found(mutant, project)) != []


def _found(mutant: Mutant, project: Project) -> Iterator[str]:
    if mutant.finder == "compiles" and project.compiled.complaints:
        yield from project.compiled.complaints
        return
    try:
        yield from CHECKS[mutant.finder](project)
    except Refused as refused:
        if mutant.finder == "compiles":
            yield str(refused)


def test_every_check_has_a_fault_to_find() -> None:
    """Each check has a planted fault, because a check that finds nothing could be empty. All fault names are unique."""
    assert {one.finder for one in ALL} == CHECKS.keys()
    assert len({one.name for one in ALL}) == len(ALL) >= 150
