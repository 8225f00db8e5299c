"""The page of one question: a table of what each system had, with ratios, as text, as Markdown and as a plot. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from local.bench.meters.ratios import Measured, medians, ratio
from local.bench.plots.report import table
from local.bench.plots.svg import Bar, Group, chart
from local.bench.streams.lines import Line

NOTHING, LACKING = "-", "has none"


@dataclass(frozen=True, slots=True)
class Row:
    """One figure of a question: its key in what was measured, its label, its form, and whether it is plotted.

    `aim` is what this build should reach. An aim with an x is a ratio to the base, or to the peer that it names. If
    `less_wins` is true or false, the page says which systems have less, or more, than this build.
    """

    key: str
    label: str
    form: str
    plotted: bool = False
    aim: str = ""
    less_wins: bool | None = None


@dataclass(slots=True)
class Column:
    """What was measured of one system, a mapping for each round, or why it could not be measured.

    `lacks` says that it runs, but has nothing that could be measured.
    """

    name: str
    rounds: list[Measured] = field(default_factory=list)
    trouble: str | None = None
    lacks: bool = False

    @property
    def values(self) -> Mapping[str, float | None]:
        """The median of each value over the rounds."""
        return medians(self.rounds)


@dataclass(frozen=True, slots=True)
class Page:
    """The answers to one question. The first column is this build, with which the others are compared.

    `notes` are short and stand below the plot, too. `details` stand only on the page.
    """

    name: str
    asks: str
    rows: Sequence[Row]
    columns: Sequence[Column]
    notes: Sequence[str]
    details: Sequence[str] = ()

    def text(self) -> str:
        """Return the page as text."""
        head, *rest = self._table()
        lines = [Line(row[0], row[1:]) for row in (head, *rest)]
        return "\n".join([f"{self.name}: {self.asks}", table(lines), *self._troubles(), *self._won()])

    def markdown(self) -> str:
        """Return the page as Markdown, with its plot and what it was measured on."""
        head, *rest = self._table()
        rows = ["| " + " | ".join(cells) + " |" for cells in (head, ["---"] * len(head), *rest)]
        plot = [f"![{self.name}]({self.name}.svg)", ""] if self.plot() else []
        notes = [f"* {note}" for note in (*self.notes, *self.details, *self._troubles())]
        won = [line for one in self._won() for line in (one, "")]
        return "\n".join([f"# {self.name}", "", self.asks, "", *rows, "", *won, *plot, *notes, ""])

    def plot(self) -> str | None:
        """Return the plot as SVG, or None if nothing was measured that is plotted."""
        measured = [column for column in self.columns if column.rounds]
        groups = [_group(row, measured) for row in self.rows if row.plotted]
        groups = [group for group in groups if any(bar.value is not None for bar in group.bars)]
        return chart(self.name, self.asks, groups, self.notes) if groups else None

    def _table(self) -> list[list[str]]:
        """Return the rows as text: this build, then each other system, with the ratio of this build to it."""
        ours, *others = self.columns
        head = ["", ours.name, *(name for other in others for name in (other.name, "ratio")), "aim"]
        return [head, *([row.label, *_cells(row, ours, others), row.aim] for row in self.rows)]

    def _troubles(self) -> list[str]:
        return [f"{one.name} was not measured: {one.trouble}" for one in self.columns if one.trouble]

    def _won(self) -> list[str]:
        """Return where others do better than this build, or nothing if no row says what is better."""
        if len(self.columns) == 1 or all(row.less_wins is None for row in self.rows):
            return []
        found = wins(self.rows, self.columns)
        return [f"Where they win: {'; '.join(found) or 'nowhere in this table'}."]


def index(names: Sequence[str]) -> str:
    """Return a page in Markdown with a link to each of the named pages."""
    links = [f"* [{name}]({name}.md)" for name in names]
    return "\n".join(["# Benchmarks", "", "`make bench` wrote these pages (docs/figures.md).", "", *links, ""])


def shown(row: Row, value: float | None) -> str:
    """Return a value as text, or a dash if there was nothing to measure."""
    return NOTHING if value is None else row.form.format(value)


def wins(rows: Sequence[Row], columns: Sequence[Column]) -> list[str]:
    """Return for each row in which others do better than the first column: its label, their names and their values."""
    ours, *others = columns
    found = []
    for row in rows:
        own = ours.values.get(row.key)
        better = [one for one in others if _is_better(row, one.values.get(row.key), own)]
        if better:
            named = ", ".join(f"{one.name} {shown(row, one.values.get(row.key))}" for one in better)
            found.append(f"{row.label}: {named} (this build {shown(row, own)})")
    return found


def _is_better(row: Row, theirs: float | None, ours: float | None) -> bool:
    """Return whether a value is better, and looks so."""
    if row.less_wins is None or theirs is None or ours is None or shown(row, theirs) == shown(row, ours):
        return False
    return theirs < ours if row.less_wins else theirs > ours


def _cells(row: Row, ours: Column, others: Sequence[Column]) -> list[str]:
    value = ours.values.get(row.key)
    cells = [shown(row, value)]
    for other in others:
        theirs = other.values.get(row.key)
        compared = ratio(value, theirs)
        cells += [LACKING if other.lacks else shown(row, theirs), NOTHING if compared is None else f"{compared:.2f}"]
    return cells


def _group(row: Row, columns: Sequence[Column]) -> Group:
    found = [(column.name, column.values.get(row.key)) for column in columns]
    return Group(row.label, [Bar(name, value, shown(row, value)) for name, value in found])
