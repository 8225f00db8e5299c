"""The fixture of tests that look at spans and metrics."""

from collections.abc import Iterator

import pytest

from tests.unit.telemetry.recording import Recorded, recording


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    """Record the spans and metrics of the product during the test."""
    with recording() as recorded:
        yield recorded
