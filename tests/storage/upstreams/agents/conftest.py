"""Fixtures of every test of agents."""

import pytest

from tests.support.fakes.agents import Weather
from tests.support.stage import Stage
from tests.support.stream_clients import QUICK


@pytest.fixture(autouse=True)
def quick(stage: Stage) -> None:
    """Make every wait of a stream short."""
    stage.pace(**QUICK)


@pytest.fixture
def tool() -> Weather:
    """Return a tool that has not been called."""
    return Weather()
