"""What the tests of the Bicep files share: one running compiler, and the project as it is."""

from collections.abc import Iterator

import pytest

from local.stack.process import ROOT
from tests.infra.compiler import Compiler, running
from tests.infra.project import Project


@pytest.fixture(scope="session")
def compiler() -> Iterator[Compiler]:
    """Return a running compiler. Without one the test is skipped on a laptop and fails in CI."""
    with running() as compiler:
        yield compiler


@pytest.fixture(scope="session")
def real(compiler: Compiler) -> Project:
    """Return the project as it is."""
    return Project(ROOT, compiler)
