"""Formats lines as a table of text, and says on which machine they were measured. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from local.bench.streams.lines import Line

WIDTH = 44
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


def table(lines: Sequence[Line]) -> str:
    """Return the lines as a table, with the aims in the last column."""
    return "\n".join(_row(line.label, [*line.cells, line.aim]).rstrip() for line in lines)


def _row(label: str, cells: Sequence[str]) -> str:
    return label.ljust(WIDTH) + "".join(cell.rjust(COLUMN) for cell in cells)
