"""Formats lines as a table of text, and says on which machine they were measured. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from local.bench.streams.lines import Line

WIDTH = 44
COLUMN = 14
QUIET = 0.25  # the load of a processor up to which other work changes little


@dataclass(frozen=True, slots=True)
class Machine:
    """The machine on which the figures were measured."""

    cpus: int | None
    architecture: str
    python: str
    azurite: str

    def __str__(self) -> str:
        return f"{self.cpus} CPUs ({self.architecture}), Python {self.python}, Azurite {self.azurite}"


def quietness(load: float, cpus: int | None) -> str:
    """Return a note on the load average before the runs, which says whether the machine was quiet."""
    verdict = "quiet" if load <= QUIET * (cpus or 1) else "busy with other work: compare the counts, and trust no time"
    return f"load average before the runs: {load:.2f} on {cpus or 1} CPUs, {verdict}"


def table(lines: Sequence[Line]) -> str:
    """Return the lines as a table, with the aims in the last column."""
    return "\n".join(_row(line.label, [*line.cells, line.aim]).rstrip() for line in lines)


def _row(label: str, cells: Sequence[str]) -> str:
    return label.ljust(WIDTH) + "".join(cell.rjust(COLUMN) for cell in cells)
