"""The figures of the README and of docs/figures.md are those that `make bench` wrote into benchmarks/."""

import re
from itertools import pairwise

import pytest

from local.stack.process import ROOT

PAGE, README, COMPARISON = (
    (ROOT / name).read_text("utf-8") for name in ("docs/figures.md", "README.md", "docs/comparison.md")
)
COMMAND = re.compile(r"make bench|python -m |tests/\w+/\w+\.py")
UNITS = {"ms": 1.0, "s": 1000.0, "": 1.0, "MiB": 1.0}
# Rows of docs/figures.md: how each begins, and the rows of a page of benchmarks/ that its cells are.
ROWS = {
    "CPU of the app per response, 25 a second": ("paced", "CPU of the app, per response"),
    "with its store": ("paced", "CPU of both, per response"),
    "accept latency p50 / p99, 25 a second": ("paced", "accept latency, p50", "accept latency, p99"),
    "end to callback p50, 1.6 to 2.4 s": ("jittered", "completion to callback, p50"),
    "burst of 500: accepted per second": ("burst", "accepted per second"),
    "burst of 500: end to callback p50": ("burst", "completion to callback, p50"),
    "`kill -9` at 25 a second: worst": ("kill", "end to callback, worst"),
    "`kill -9`: lost": ("kill", "lost: accepted, no callback in 150 s", "called back more than once"),
    "`kill -9`: requests that were sent": ("kill", "asked twice to start, with one key"),
    "idle: CPU of the app": ("idle", "CPU of the app, per second", "CPU of the store, per second"),
    "peak memory of the app": ("paced", "peak memory of the app"),
    "of a response of 2 s with a callback": ("lone", "storage requests of a response of 2 s"),
    "of one of 60 s": ("lone", "storage requests of a response of 60 s"),
    "of one of 2 s at 25 a second": ("counted", "storage requests"),
    "the invocations of that one": ("counted", "invocations"),
    "the queue messages of that one": ("counted", "queue messages"),
    "of a live host without work": ("idle", "storage requests per second"),
    "2,500 young responses in flight": ("in-flight", "polls late, p50"),
    "the same: a newcomer": ("in-flight", "accept latency of newcomers, p50"),
    "the same: polls per second": ("in-flight", "polls per second", "CPU of the host, per poll"),
    "240 responses end at once": ("one-host", "last callback, after the end"),
    "first event, after the upstream": (
        *("streams", "first event, after the work's start, p50", "first event, after the work's start, p99"),
    ),
    "from the upstream's event to the client's": ("streams", "event, live, p50", "event, live, p99"),
    "the same with 50 streams": ("streams", "event, live, streams at once, p50", "event, live, streams at once, p99"),
    "the same for another reader": ("streams", "event, tailing the log, p50", "event, tailing the log, p99"),
    "resume in a log of 3,000 events": (
        *("streams", "resume, finished log of 3,000 events, p50", "resume, finished log of 3,000 events, p99"),
    ),
    "a streamed second: CPU": (
        *("streams", "CPU of the host, per streamed second", "CPU of Azurite, per streamed second"),
    ),
    "a streamed second: storage": ("streams", "storage requests per streamed second"),
    "upstream with background mode: a reader": (
        *("readers", "with background mode: another host, p50", "with background mode: another host, p99"),
    ),
    "upstream without background mode, or": ("readers", "without: live, p50", "without: live, p99"),
    "300 streams of 10 events": ("crowd", "events late, live, p50", "events late, live, p99"),
    "200 readers of one stream": ("crowd", "their storage queries per second"),
    "upstream without background mode: an instant": (
        *("foreground", "without: instant model", "without: model of 1 s"),
    ),
    "the same: the first delta": ("foreground", "without: first delta"),
    "with background mode: an instant": (
        *("foreground", "with background mode: instant model", "with background mode: model of 1 s"),
    ),
}
IN_README = {
    "accept a response, 25 a second": ("paced", "accept latency, p50", "accept latency, p99"),
    "completion to callback, by polling": ("jittered", "completion to callback, p50", "completion to callback, p99"),
    "from the upstream's event to the client's": ("streams", "event, live, p50", "event, live, p99"),
    "resume in a log of 3,000 events": ROWS["resume in a log of 3,000 events"],
}
IN_COMPARISON = {
    "accept latency p50 / p99, 25 a second": ROWS["accept latency p50 / p99, 25 a second"],
    "end to callback p50": ROWS["end to callback p50, 1.6 to 2.4 s"],
    "burst of 500: accepted per second": ROWS["burst of 500: accepted per second"],
    "`kill -9`: lost": ROWS["`kill -9`: lost"],
    "`kill -9`: worst end to callback": ROWS["`kill -9` at 25 a second: worst"],
    "idle CPU of the app": ("idle", "CPU of the app, per second"),
}


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


def shown(page: str, begin: str) -> tuple[list[str], list[str]]:
    """Return the header of the table of a row, and the row, by how that begins."""
    lines = page.splitlines()
    at = next(at for at, line in enumerate(lines) if line.startswith(f"| {begin}"))
    top = next(up for up in range(at, 0, -1) if not lines[up - 1].startswith("|"))
    return cells(lines[top]), cells(lines[at])


def same(said: str, found: list[str]) -> bool:
    """Return whether a cell says what was found, rounded as the cell is. `1.8 / 4.5 ms` are two values of one unit."""
    unit = (re.search(r"[A-Za-z]+$", said) or [""])[0]
    parts = [re.match(r"[\d.,]+", one.strip()) for one in said.split(" / ")]
    texts = [one[0].replace(",", "") if one else "" for one in parts]
    units = [(re.search(r"[A-Za-z]+$", one.strip()) or [unit])[0] for one in said.split(" / ")]
    return len(texts) == len(found) and all(map(_is_rounded, texts, units, found))


def _is_rounded(text: str, unit: str, found: str) -> bool:
    number, _, its_unit = found.partition(" ")
    factor = UNITS[its_unit] / UNITS[unit or its_unit]
    half = _half(text) + _half(number) * factor  # the page has rounded, too
    return bool(text) and abs(float(text) - float(number) * factor) <= half + 1e-9


def _half(number: str) -> float:
    """Return half of the last digit of a number."""
    return 0.5 * 10.0 ** -len(number.partition(".")[2])


def wrong(page: str, begin: str, source: tuple[str, ...]) -> list[str]:
    """Return the cells of a row that differ from what was measured."""
    (name, *rows), (header, row) = source, shown(page, begin)
    values = [measured(name, one) for one in rows]
    columns = {"before": "dd14d2e", "Procrastinate": "procrastinate", "Celery": "celery", "DBOS": "dbos"}
    columns |= {"Restate": "restate", "ratio": "dd14d2e, ratio", "": "this build", "this service": "this build"}
    found = []
    for title, cell in zip(header[1:], row[1:], strict=True):
        column = columns.get(title, title)
        if cell and not same(cell, [one[column] for one in values]):
            found.append(f"{begin}: {title}: {cell}, and not {[one[column] for one in values]}")
    return found


@pytest.mark.parametrize("begin", ROWS)
def test_a_figure_of_the_page_is_that_of_the_run(begin: str) -> None:
    """Of this build, of the one before, of each other system, and their ratios, rounded as they are shown."""
    assert wrong(PAGE, begin, ROWS[begin]) == []


@pytest.mark.parametrize("begin", IN_README)
def test_a_figure_of_the_readme_is_that_of_the_run(begin: str) -> None:
    """Its p50 and its p99."""
    _, (_, *said) = shown(README, begin)
    page, *rows = IN_README[begin]
    found = [measured(page, row)["this build"] for row in rows]
    assert [same(cell, [one]) for cell, one in zip(said, found, strict=True)] == [True, True]


@pytest.mark.parametrize("begin", IN_COMPARISON)
def test_a_figure_of_the_comparison_is_that_of_the_run(begin: str) -> None:
    """Of this service and of the others."""
    assert wrong(COMPARISON, begin, IN_COMPARISON[begin]) == []


def test_every_figure_of_a_load_or_a_stream_is_compared() -> None:
    """No row of these chapters is left out."""
    chapters = PAGE.partition("\n## Loads")[2].partition("\n## Deliveries")[0].splitlines()
    rows = [cells(line)[0] for before, line in pairwise(chapters) if cells(line) and cells(before)]
    assert [one for one in rows if not one.startswith((*ROWS, "---"))] == []


def test_every_chapter_names_what_prints_its_figures() -> None:
    """A chapter with a table, at any depth, has a command before it."""
    chapters = re.split(r"^#+ ", PAGE.partition("\n## How to measure")[2], flags=re.MULTILINE)
    silent = [one.splitlines()[0] for one in chapters if "\n|" in one and not COMMAND.search(one.partition("\n|")[0])]
    assert silent == []


def test_the_page_says_of_which_commit_its_figures_are() -> None:
    """It is that of every page of the run."""
    pages = (path.read_text("utf-8") for path in (ROOT / "benchmarks").glob("*.md") if path.stem != "README")
    commits = {one for page in pages for one in re.findall(r"^\* commit (\w+),", page, re.MULTILINE)}
    assert len(commits) == 1
    assert all(f"commit `{one}`" in text for one in commits for text in (PAGE, README))


@pytest.mark.parametrize(
    ("said", "found", "is_same"),
    [
        ("0.41 s", ["409 ms"], True),
        ("0.42 s", ["409 ms"], False),
        ("2.8", ["3.2"], False),
        ("11 / 19 ms", ["10.5 ms", "19.2 ms"], True),
        ("11 / 20 ms", ["10.5 ms", "19.2 ms"], False),
        ("623 / 1.3 ms", ["623", "1.34 ms"], True),
    ],
)
def test_a_rounded_figure_is_the_same(said: str, found: list[str], is_same: bool) -> None:
    """In its own unit, and to its own last digit."""
    assert same(said, found) is is_same
