"""Compares what was measured of several systems in the same run. Pure."""

import statistics
from collections.abc import Mapping, Sequence

Measured = Mapping[str, float | None]
"""The values of one run by the key of their row. None marks a value with nothing to measure."""


def medians(rounds: Sequence[Measured]) -> dict[str, float | None]:
    """Return the median of each value over the rounds that have it, or None where none has."""
    keys = dict.fromkeys(key for one in rounds for key in one)
    return {key: _median([value for one in rounds if (value := one.get(key)) is not None]) for key in keys}


def ratio(ours: float | None, theirs: float | None) -> float | None:
    """Return ours divided by theirs. It is None if either was not measured, or if theirs is 0 and ours is not.

    Two zeros are equal, so their ratio is 1.
    """
    if ours is None or theirs is None:
        return None
    if theirs == 0:
        return 1.0 if ours == 0 else None
    return ours / theirs


def _median(values: Sequence[float]) -> float | None:
    return statistics.median(values) if values else None
