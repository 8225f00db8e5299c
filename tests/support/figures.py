"""The cells of a table of a page, and what the pages of benchmarks/ have for them."""

import re
from itertools import pairwise

from local.stack.process import ROOT

UNITS = {"ms": 1.0, "s": 1000.0, "min": 60_000.0, "h": 3_600_000.0, "": 1.0, "MiB": 1.0}
WORDS = {"has none": "has none", "have none": "has none", "not in 240 s": "-"}
"""What a cell says instead of a figure, and what the page of the run has there."""

Source = tuple[tuple[str, str], ...]
"""The pages of benchmarks/ and their rows that are the values of a cell, in their order."""


def of(page: str, *rows: str) -> Source:
    """Return rows of one page."""
    return tuple((page, row) for row in rows)


def both(row: str) -> Source:
    """Return one row of two pages: a model that knows keys, and one that does not."""
    return (("kill-start", row), ("kill-keyless", row))


def cells(line: str) -> list[str]:
    """Return the cells of a row of a table."""
    return [one.strip() for one in line.split("|")[1:-1]] if line.startswith("|") else []


def measured(page: str, row: str) -> dict[str, str]:
    """Return the cells of a row of a page, by their columns. Ratios have the name of what is compared."""
    lines = (ROOT / "benchmarks" / f"{page}.md").read_text("utf-8").splitlines()
    header, *rows = [cells(line) for line in lines if cells(line)]
    found = next(one for one in rows if one[0] == row)
    names = [f"{header[at - 1]}, ratio" if name == "ratio" else name for at, name in enumerate(header)]
    return dict(zip(names, found, strict=True))


def rows_of(text: str) -> list[tuple[str, str]]:
    """Return the titles of tables, each with the first cell of each of its rows."""
    found, title = [], ""
    for before, line in pairwise(["", *text.splitlines()]):
        if cells(line) and not cells(before):
            title = cells(line)[0]
        elif cells(line) and not line.startswith("|--"):
            found.append((title, cells(line)[0]))
    return found


def shown(page: str, begin: str, table: str = "") -> tuple[list[str], list[str]]:
    """Return the header of the table of a row, and the row, by how that begins, or by its name and the table's."""
    lines = page.splitlines()
    first = next(at for at, line in enumerate(lines) if line.startswith(f"| {table}"))
    start = f"| {begin} |" if table else f"| {begin}"
    at = next(at for at in range(first, len(lines)) if lines[at].startswith(start))
    top = next(up for up in range(at, 0, -1) if not lines[up - 1].startswith("|"))
    return cells(lines[top]), cells(lines[at])


def same(said: str, found: list[str]) -> bool:
    """Return whether a cell says what was found, rounded as the cell is. `1.8 / 4.5 ms` are two values of one unit."""
    parts = [said] * len(found) if said in WORDS else [one.strip() for one in said.split(" / ")]
    if len(parts) != len(found):
        return False
    return all(_is_said(one, _unit(said), value) for one, value in zip(parts, found, strict=True))


def _is_said(part: str, unit: str, found: str) -> bool:
    """Return whether a part of a cell says a value. Without a unit it has that of the cell, if it is no count."""
    if part in WORDS:
        return found == WORDS[part]
    number = re.match(r"[\d.,]+", part)
    inherited = unit if _unit(found) else ""
    return number is not None and _is_rounded(number[0].replace(",", ""), _unit(part) or inherited, found)


def _unit(said: str) -> str:
    return (re.search(r"[A-Za-z]+$", said) or [""])[0]


def _is_rounded(text: str, unit: str, found: str) -> bool:
    number, _, its_unit = found.replace(",", "").partition(" ")
    if not re.fullmatch(r"[\d.]+", number):
        return False
    factor = UNITS[its_unit] / UNITS[unit or its_unit]
    half = _half(text) + _half(number) * factor  # the page has rounded, too
    return abs(float(text) - float(number) * factor) <= half + 1e-9


def _half(number: str) -> float:
    """Return half of the last digit of a number."""
    return 0.5 * 10.0 ** -len(number.partition(".")[2])


def wrong(page: str, begin: str, source: Source, table: str = "") -> list[str]:
    """Return the cells of a row that differ from what was measured. A column may be of several systems."""
    header, row = shown(page, begin, table)
    values = [measured(name, one) for name, one in source]
    columns = {"before": "dd14d2e", "Procrastinate": "procrastinate", "Celery": "celery", "DBOS": "dbos"}
    columns |= {"Restate": "restate", "ratio": "dd14d2e, ratio", "": "this build", "this service": "this build"}
    found = []
    for title, cell in zip(header[1:], row[1:], strict=True):
        for system in title.split(", "):
            measures = [one[columns.get(system, system)] for one in values]
            if cell and not same(cell, measures):
                found.append(f"{begin}: {system}: {cell}, and not {measures}")
    return found
