"""Formats the figures as a page of text. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from local.bench.meters.figures import Figures
from local.bench.meters.storage_requests import Count
from local.bench.streams.lines import Line

ROWS = {
    "accepted, of those submitted": "{accepted} of {submitted}",
    "accepted per second": "{accepted_per_s:.0f}",
    "accept latency, p50": "{accept_p50_ms:.1f} ms",
    "accept latency, p99": "{accept_p99_ms:.1f} ms",
    "completion to callback, p50": "{callback_p50_ms:.0f} ms",
    "completion to callback, p99": "{callback_p99_ms:.0f} ms",
    "CPU of the host, per response": "{host_cpu_ms:.1f} ms",
    "CPU of Azurite, per response": "{azurite_cpu_ms:.1f} ms",
    "peak memory of the host": "{host_peak_mib:.0f} MiB",
    "upstream calls per response": "{upstream_calls:.2f}",
    "responses started twice": "{started_twice}",
    "responses called back more than once": "{called_back_twice}",
    "lost: accepted, not called back in 90 s": "{lost}",
    "load average of the machine, 1 min": "{load_average:.2f}",
}
WIDTH = 40
COLUMN = 14


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine on which the figures were measured."""

    cpus: int | None
    architecture: str
    python: str
    azurite: str

    def __str__(self) -> str:
        return f"{self.cpus} CPUs ({self.architecture}), Python {self.python}, Azurite {self.azurite}"


def page(machine: Machine, runs: Mapping[str, Figures], requests: Sequence[Count]) -> str:
    """Return the whole page: one column per run, then the storage requests."""
    return "\n".join([f"machine: {machine}", "", *_runs(runs), "", *_requests(requests)])


def table(lines: Sequence[Line]) -> str:
    """Return the lines as a table, with the aims in the last column."""
    return "\n".join(_row(line.label, [*line.cells, line.aim]).rstrip() for line in lines)


def _runs(runs: Mapping[str, Figures]) -> list[str]:
    rows = [_row(label, [_value(form, figures) for figures in runs.values()]) for label, form in ROWS.items()]
    return [_row("", list(runs)), *rows]


def _value(form: str, figures: Figures) -> str:
    """Return a figure as text, or a dash if there was nothing to measure."""
    shown = {name: getattr(figures, name) for name in Figures.__slots__}
    try:
        return form.format_map(shown)
    except TypeError:
        return "-"


def _requests(requests: Sequence[Count]) -> list[str]:
    total = Count("all", sum(one.own for one in requests), sum(one.shared for one in requests))
    rows = [_row(one.name, [f"{n:.2f}" for n in (one.own, one.shared, one.in_full)]) for one in (*requests, total)]
    return [_row("storage requests per response", ["own", "shared", "in full"]), *rows]


def _row(label: str, cells: Sequence[str]) -> str:
    return label.ljust(WIDTH) + "".join(cell.rjust(COLUMN) for cell in cells)
