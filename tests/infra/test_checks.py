"""The infrastructure checks pass on the real files and find the faults planted in copies of them."""

from collections.abc import Callable, Iterator

import pytest

from tests.infra import azd, deploying, hardening, project, roles, settings, typedata
from tests.infra.mutants import MUTANTS as OF_BICEP
from tests.infra.mutants import Mutant
from tests.infra.project import Project, projects, texts
from tests.infra.trees import TYPES
from tests.support.environments import need

Check = Callable[[Project], Iterator[str]]
ALL: list[Check] = [
    project.grammar,
    project.types,
    project.wiring,
    roles.roles,
    hardening.hardening,
    hardening.rules,
    hardening.defaults,
    hardening.tags,
    hardening.network,
    settings.settings,
    settings.passed_on,
    settings.local_example,
    settings.storage,
    settings.parameters,
    azd.azd,
    deploying.host,
    deploying.outputs,
    deploying.choices,
    deploying.ranges,
    deploying.alerts,
]
# Those of azure.yaml are in `azd`, and replace those of their names.
MUTANTS = [*azd.MUTANTS, *(one for one in OF_BICEP if one.name not in {mutant.name for mutant in azd.MUTANTS})]
CHECKS: dict[str, Check] = {check.__name__: check for check in ALL}


@pytest.fixture(scope="session")
def versions() -> dict[str, Project]:
    """Return the project of the real files and that of each mutant, by name.

    Without the tools the tests are skipped on a laptop and fail in CI.
    """
    need("infra")
    assert TYPES.exists(), "the types of the Bicep files are not there: `make test` fetches them"
    real = texts()
    return projects({"real": real, **{one.name: planted(real, one) for one in MUTANTS}})


def planted(real: dict[str, str], mutant: Mutant) -> dict[str, str]:
    """Return a copy of the files with the fault of the mutant."""
    return {**real, mutant.path: real[mutant.path].replace(mutant.old, mutant.new, 1)}


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
def test_the_infrastructure_passes(check: Check, versions: dict[str, Project]) -> None:
    """No check finds a fault in the real files. The docstring of each check says what it requires."""
    assert list(check(versions["real"])) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda one: one.name)
def test_a_planted_fault_is_found(mutant: Mutant, versions: dict[str, Project]) -> None:
    """Each planted fault is found by the check for its kind. Other checks may find it too."""
    assert versions[mutant.name].texts != versions["real"].texts
    assert list(CHECKS[mutant.finder](versions[mutant.name])) != []


def test_every_check_has_a_fault_to_find() -> None:
    """Each check has a planted fault, because a check that finds nothing could be empty. All fault names are unique."""
    assert {one.finder for one in MUTANTS} == CHECKS.keys()
    assert len({one.name for one in MUTANTS}) == len(MUTANTS) >= 30


@pytest.mark.usefixtures("versions")
def test_the_types_without_data_are_those_written_by_hand() -> None:
    """The types that the package has no data for are exactly those in `shapes.json`, so none is left unchecked."""
    assert typedata.without_data() == typedata.by_hand().keys()
