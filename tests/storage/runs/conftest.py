"""Fixtures of every test of runs."""

import pytest

from tests.support.stage import Stage
from tests.support.stream_clients import QUICK


@pytest.fixture(autouse=True)
def quick(stage: Stage) -> None:
    """Make every wait of a stream short."""
    stage.pace(**QUICK)
