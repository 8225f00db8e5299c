"""The processes at a gate."""

from collections.abc import AsyncIterator

import pytest

from tests.support.gate_processes import GateWorld
from tests.support.stage import Stage


@pytest.fixture
async def world(stage: Stage) -> AsyncIterator[GateWorld]:
    """Return three processes at a gate with three permits. The rows are checked after each transaction."""
    world = GateWorld(stage, 3)
    await world.start()
    yield world
    await world.stop()
