"""Formats the observations of streams as lines of the page. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from local.bench.meters.figures import Usage, percentile
from local.bench.meters.storage_requests import NAMES, Count
from local.model.behaviour import TICKS_PER_S

WRITES = ("table transaction", "table other", "queue put", "queue delete", "queue other")


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
    ("event, live, 50 streams at once", "at_once_ms", ""),
)


def timed(seen: Streamed) -> list[Line]:
    """Return a line for each latency, with its p50 and p99."""
    lines = [Line("streams: upstream to client", ["p50", "p99"], "aim")]
    for label, name, aim in TIMES:
        values: Sequence[float] = getattr(seen, name)
        lines.append(Line(label, [_ms(percentile(values, 50)), _ms(percentile(values, 99))], aim))
    return lines


def used(seen: Streamed) -> list[Line]:
    """Return the lines about what many concurrent streams used, and how many of their events arrived."""
    host_ms, azurite_ms = (s * 1000 / seen.streamed_s for s in (seen.usage.host_cpu_s, seen.usage.azurite_cpu_s))
    due = round(seen.streamed_s * TICKS_PER_S)
    return [
        Line("50 streams at once", ["", ""]),
        Line("events that came, of those due", [f"{len(seen.at_once_ms)}", f"of {due}"]),
        Line("CPU of the host, per streamed second", [_ms(host_ms)]),
        Line("CPU of Azurite, per streamed second", [_ms(azurite_ms)]),
        Line("peak memory of the host", [f"{seen.usage.host_peak_bytes / 2**20:.0f} MiB"]),
    ]


def requested(windows: Mapping[str, Sequence[Count]]) -> list[Line]:
    """Return a line for each name of a stream's own storage requests, per streamed second, by window."""
    own = {window: {one.name: one.own for one in found} for window, found in windows.items()}
    lines = [Line("own storage requests per second", list(windows), "aim")]
    for label, names, aim in _groups():
        totals = [sum(found.get(name, 0.0) for name in names) for found in own.values()]
        if any(totals):
            lines.append(Line(label, [f"{total:.2f}" for total in totals], aim))
    return lines


def _groups() -> Iterator[tuple[str, Sequence[str], str]]:
    yield from ((name, (name,), "") for name in NAMES)
    yield "writes", WRITES, "<= 2"
    yield "all", NAMES, ""


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} ms"
