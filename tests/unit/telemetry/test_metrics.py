"""The metrics as the SDK reads them: their names, kinds and units, and the buckets of their histograms."""

import re
from itertools import pairwise
from typing import Any

import pytest
from opentelemetry.metrics import Instrument
from opentelemetry.sdk.metrics.export import Histogram, Metric, Sum

from shared.telemetry import metrics
from tests.unit.telemetry.recording import Recorded

INSTRUMENTS: dict[str, Any] = {name: one for name, one in vars(metrics).items() if isinstance(one, Instrument)}
READERS = "background_responses.stream.readers"
COUNTERS = {"abandoned", "repeated", "accepted", "ended", "attempts", "deliveries", "stream_readers"}
OURS = re.compile(r"background_responses(\.[a-z]+)+")
CONVENTIONS = re.compile(r"(http|messaging|gen_ai)(\.[a-z]+)+")


@pytest.fixture
def read(recorded: Recorded) -> dict[str, Metric]:
    """Return every metric as the SDK reads it after one value, by its name in the code."""
    found = {}
    for name, one in INSTRUMENTS.items():
        (one.add if hasattr(one, "add") else one.record)(1)
        seen = recorded.metrics()
        levels = [seen.pop(READERS)] if READERS in seen else []  # it goes down, too, so it is read every time
        found[name] = [*seen.values(), *levels][0]
    metrics.stream_readers.add(-1)
    return found


def test_every_metric_has_its_own_name(read: dict[str, Metric]) -> None:
    """Two metrics with one name would be added up."""
    assert len({metric.name for metric in read.values()}) == len(INSTRUMENTS) > 10


def test_names_are_ours_or_those_of_the_conventions(read: dict[str, Metric]) -> None:
    """Ours begin with `background_responses`. The others belong to HTTP, messaging or GenAI."""
    for name, metric in read.items():
        assert OURS.fullmatch(metric.name) or CONVENTIONS.fullmatch(metric.name), name
        assert str(metric.description).endswith("."), name


def test_counters_count_things_and_histograms_measure_seconds_or_tokens(read: dict[str, Metric]) -> None:
    """The unit of a counter is a thing in braces, as UCUM writes it. Durations are in seconds."""
    for name, metric in read.items():
        if name in COUNTERS:
            assert isinstance(metric.data, Sum), name
            assert re.fullmatch(r"\{[a-z]+\}", str(metric.unit)), name
            assert metric.data.is_monotonic is (name != "stream_readers"), name
        else:
            assert isinstance(metric.data, Histogram), name
            assert metric.unit == ("{token}" if name == "token_usage" else "s"), name


def test_durations_have_buckets_from_10_ms_to_a_day(read: dict[str, Metric]) -> None:
    """A poll takes milliseconds and a response may take hours. The SDK's own buckets are made for milliseconds."""
    for name in read.keys() - COUNTERS - {"token_usage"}:
        bounds = bounds_of(read[name])
        assert (bounds[0], bounds[-1]) == (0.01, 86_400), name
        assert all(before < after <= 10 * before for before, after in pairwise(bounds)), name


def test_tokens_have_the_buckets_of_the_conventions(read: dict[str, Metric]) -> None:
    """The buckets are powers of 4 up to 67 million. The SDK's own end at 10,000, which a prompt may exceed."""
    assert bounds_of(read["token_usage"]) == [4**power for power in range(14)]


def test_values_are_summed_by_their_attributes(recorded: Recorded) -> None:
    """Each set of attributes is a separate series."""
    for status, count in (("completed", 2), ("failed", 1), ("completed", 3)):
        metrics.ended.add(count, {"status": status})
    found = {point.attributes["status"]: point.sum for point in recorded.points()["background_responses.ended"]}
    assert found == {"completed": 5, "failed": 1}


def test_readers_go_up_and_down(recorded: Recorded) -> None:
    """The number of open streams is what remains after all have begun and some have ended."""
    before = readers(recorded)
    for by in (1, 1, 1, -1):
        metrics.stream_readers.add(by)
    assert readers(recorded) - before == 2
    metrics.stream_readers.add(-2)
    assert readers(recorded) == before


def readers(recorded: Recorded) -> float:
    """Return the number of streams being read."""
    return sum(point.sum for point in recorded.points().get(READERS, []))


def bounds_of(metric: Metric) -> list[float]:
    """Return the bounds of a histogram's buckets."""
    assert isinstance(metric.data, Histogram)
    return list(metric.data.data_points[0].explicit_bounds)
