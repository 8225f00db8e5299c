"""What is observed of streams, and a line of a page. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from local.bench.meters.figures import Usage


@dataclass(frozen=True, slots=True)
class Streamed:
    """Everything observed of streams. Times are in milliseconds, from the upstream to the client.

    `usage` belongs to the streams of `at_once_ms`, which together lasted `streamed_s` seconds.
    """

    first_ms: Sequence[float]
    live_ms: Sequence[float]
    tail_ms: Sequence[float]
    finished_ms: Sequence[float]
    growing_ms: Sequence[float]
    at_once_ms: Sequence[float]
    usage: Usage
    streamed_s: float


@dataclass(frozen=True, slots=True)
class Line:
    """A row of the page: what was measured, its values, and what they should be."""

    label: str
    cells: Sequence[str]
    aim: str = ""


TIMES = (
    ("first event, after the work's start", "first_ms", "< 100 ms"),
    ("event, live", "live_ms", "p50 < 10 ms"),
    ("event, tailing the log", "tail_ms", "p50 < 400 ms"),
    ("resume, finished log of 3,000 events", "finished_ms", "< 150 ms"),
    ("resume, growing log", "growing_ms", "< 150 ms"),
    ("event, live, streams at once", "at_once_ms", ""),
)
