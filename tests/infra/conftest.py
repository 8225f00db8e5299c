"""The fixtures of the tests of deployment hooks."""

from collections.abc import Iterator

import pytest

from tests.infra.vaults import Vault, running_vault


@pytest.fixture
def vault() -> Iterator[Vault]:
    """Yield a running vault without secrets."""
    with running_vault() as vault:
        yield vault
