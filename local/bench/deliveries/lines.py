"""Formats the observations of deliveries and of upstream webhooks as lines of the page. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from local.bench.meters.figures import Callback, Figures, Submission, percentile
from local.bench.streams.lines import Line

NEVER = math.inf


@dataclass(frozen=True, slots=True)
class Sent:
    """The deliveries of one sender: how many, how many were accepted, over how many connections, and in what time."""

    deliveries: int
    taken: int
    connections: int
    took_s: float
    cpu_s: float

    @property
    def per_s(self) -> float:
        """The number of accepted deliveries per second."""
        return self.taken / self.took_s

    @property
    def cpu_ms(self) -> float:
        """The CPU time per delivery in the sender's process, in ms."""
        return self.cpu_s * 1000 / self.deliveries


def waits_ms(
    submissions: Sequence[Submission], completions: Mapping[str, float], callbacks: Sequence[Callback]
) -> list[float]:
    """Return how long after its completion each response had its first callback, in ms.

    The wait is NEVER without a callback, and for a response that was not accepted.
    """
    first = {one.response_id: one.received_s for one in reversed(callbacks)}
    found = {name: (first[name] - completions[name]) * 1000 for name in first.keys() & completions.keys()}
    return [found.get(one.response_id or "", NEVER) for one in submissions]


@dataclass(frozen=True, slots=True)
class Beside:
    """How long callbacks took, in ms: while another host worked, and while it was a black hole."""

    well_ms: Sequence[float]
    hole_ms: Sequence[float]


def delivered(at_once: Sent, slowly: Sent) -> list[Line]:
    """Return the lines about a sender, whose receivers answer at once or slowly."""
    sent = at_once, slowly
    return [
        Line("callbacks, each on a new TLS connection", ["at once", "after 200 ms"], "aim"),
        Line("taken, of those sent", [f"{one.taken} of {one.deliveries}" for one in sent], "all"),
        Line("deliveries per second", [f"{one.per_s:.0f}" for one in sent], ">= 100"),
        Line("CPU of the sender, per delivery", [f"{one.cpu_ms:.1f} ms" for one in sent]),
    ]


def black_hole_lines(seen: Beside) -> list[Line]:
    """Return the lines about the effect of a black hole on callbacks to other hosts."""
    waits = seen.well_ms, seen.hole_ms
    return [
        Line("callbacks, half of all to another host", ["that works", "a black hole"], "aim"),
        Line("callbacks received, of all to this host", [_called_back(one) for one in waits], "all"),
        Line("completion to callback, p50", [_ms(percentile(one, 50)) for one in waits]),
        Line("completion to callback, p95", [_ms(percentile(one, 95)) for one in waits]),
        Line("ratio to the run without a black hole", ["", _ratio(seen)], "< 2"),
        Line("p95 in the second half of the run", [_ms(percentile(_later(one), 95)) for one in waits]),
    ]


def callback_lines(found: Figures) -> list[Line]:
    """Return the lines about a run in which the upstream sends a webhook when work ends."""
    return [
        Line("upstream webhooks, 5 responses a second", ["p50", "p99"], "aim"),
        Line("completion to callback", [_ms(found.callback_p50_ms), _ms(found.callback_p99_ms)], "p50 < 150 ms"),
        Line("callbacks received, of all accepted", [f"{found.accepted - found.lost} of {found.accepted}", ""], "all"),
        Line("upstream calls per response", [_plain(found.upstream_calls), ""]),
    ]


def _ratio(seen: Beside) -> str:
    well_ms, hole_ms = (percentile(waits, 95) for waits in (seen.well_ms, seen.hole_ms))
    return f"{hole_ms / well_ms:.1f}" if well_ms and hole_ms and well_ms < NEVER else "-"


def _later(waits: Sequence[float]) -> Sequence[float]:
    return waits[len(waits) // 2 :]


def _called_back(waits: Sequence[float]) -> str:
    return f"{sum(one < NEVER for one in waits)} of {len(waits)}"


def _ms(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f} ms"


def _plain(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
