"""What the tests of this folder share: a running compiler, the project as it is, and a vault for the hooks."""

from collections.abc import Iterator

import pytest

from local.stack.process import ROOT
from tests.infra.compiler import Compiler, running
from tests.infra.project import Project
from tests.infra.vaults import Vault, running_vault


@pytest.fixture(scope="module")
def compiler() -> Iterator[Compiler]:
    """Return a running compiler, which takes half a gigabyte and goes with the file of tests.

    Without one the test is skipped on a laptop and fails in CI.
    """
    with running() as compiler:
        yield compiler


@pytest.fixture(scope="module")
def real(compiler: Compiler) -> Project:
    """Return the project as it is."""
    return Project(ROOT, compiler)


@pytest.fixture
def vault() -> Iterator[Vault]:
    """Yield a running vault without secrets."""
    with running_vault() as vault:
        yield vault
