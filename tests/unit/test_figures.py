"""The figures of the README and of docs/figures.md are those that `make bench` wrote into benchmarks/."""

import re

import pytest

from local.stack.process import ROOT
from tests.support.figures import both, measured, of, rows_of, same, shown, wrong

PAGE, README, COMPARISON = (
    (ROOT / name).read_text("utf-8") for name in ("docs/figures.md", "README.md", "docs/comparison.md")
)
BROKEN_CHAPTER = PAGE.partition("\n## When something breaks\n")[2].partition("\n## ")[0]
COMMAND = re.compile(r"make bench|python -m |tests/\w+/\w+\.py")
# Rows of docs/figures.md: how each begins, and the rows of a page of benchmarks/ that its cells are.
ROWS = {
    "CPU of the app per response, 25 a second": of("paced", "CPU of the app, per response"),
    "with its store": of("paced", "CPU of both, per response"),
    "accept latency p50 / p99, 25 a second": of("paced", "accept latency, p50", "accept latency, p99"),
    "end to callback p50, 1.6 to 2.4 s": of("jittered", "completion to callback, p50"),
    "burst of 500: accepted per second": of("burst", "accepted per second"),
    "burst of 500: end to callback p50": of("burst", "completion to callback, p50"),
    "idle: CPU of the app": of("idle", "CPU of the app, per second", "CPU of the store, per second"),
    "peak memory of the app": of("paced", "peak memory of the app"),
    "of a response of 2 s with a callback": of("lone", "storage requests of a response of 2 s"),
    "of one of 60 s": of("lone", "storage requests of a response of 60 s"),
    "of one of 2 s at 25 a second": of("counted", "storage requests"),
    "the invocations of that one": of("counted", "invocations"),
    "the queue messages of that one": of("counted", "queue messages"),
    "of a live host without work": of("idle", "storage requests per second"),
    "2,500 young responses in flight": of("in-flight", "polls late, p50"),
    "the same: a newcomer": of("in-flight", "accept latency of newcomers, p50"),
    "the same: polls per second": of("in-flight", "polls per second", "CPU of the host, per poll"),
    "a create of a caller, alone": of(
        "flood", "accept latency of one caller, alone, p50", "accept latency of one caller, alone, p95"
    ),
    "the same while another one sends 1,000": of(
        "flood", "while another one floods, p50", "while another one floods, p95"
    ),
    "times as long as alone": of("flood", "in the flood, times that alone, p50", "in the flood, times that alone, p95"),
    "the flood: accepted a second": of("flood", "accepted of the flood, a second"),
    "callbacks of a caller, while all hosts answer": of(
        "flood", "callback, while all hosts work, p95", "beside dead hosts of another, p95"
    ),
    "240 responses end at once": of("one-host", "last callback, after the end"),
    "first event, after the upstream": of(
        "streams", "first event, after the work's start, p50", "first event, after the work's start, p99"
    ),
    "from the upstream's event to the client's": of("streams", "event, live, p50", "event, live, p99"),
    "the same with 50 streams": of("streams", "event, live, streams at once, p50", "event, live, streams at once, p99"),
    "the same for another reader": of("streams", "event, tailing the log, p50", "event, tailing the log, p99"),
    "resume in a log of 3,000 events": of(
        "streams", "resume, finished log of 3,000 events, p50", "resume, finished log of 3,000 events, p99"
    ),
    "a streamed second: CPU": of(
        "streams", "CPU of the host, per streamed second", "CPU of Azurite, per streamed second"
    ),
    "a streamed second: storage": of("streams", "storage requests per streamed second"),
    "upstream with background mode: a reader": of(
        "readers", "with background mode: another host, p50", "with background mode: another host, p99"
    ),
    "upstream without background mode, or": of("readers", "without: live, p50", "without: live, p99"),
    "300 streams of 10 events": of("crowd", "events late, live, p50", "events late, live, p99"),
    "200 readers of one stream": of("crowd", "their storage queries per second"),
    "upstream without background mode: an instant": of("foreground", "without: instant model", "without: model of 1 s"),
    "the same: the first delta": of("foreground", "without: first delta"),
    "with background mode: an instant": of(
        "foreground", "with background mode: instant model", "with background mode: model of 1 s"
    ),
}
LOST, WORST = "lost: accepted, no callback in 120 s", "late: end to callback, worst"
REFUSED_LOST = "lost: not accepted in 240 s, and given up"
REFUSED_WORST = "late: end to callback of these in 240 s, worst"
LAST_ATTEMPT = "reckoned: last attempt, if all get a 500"
# Every row of the chapter "When something breaks", by the title of its table.
BROKEN = {
    "`kill -9` at 25 a second, 250 responses, a start after 2 s": {
        "lost: accepted, and no callback in 120 s": of("kill", LOST),
        "started twice / called back twice": of("kill", "started twice", "called back more than once"),
        "late: worst end to callback": of("kill", WORST),
        "create calls without an answer": of("kill", "create calls without an answer"),
    },
    "the same, while start calls were out for 300 ms": {
        "start calls that were out, with keys / without": both("start calls that were out at the kill"),
        "lost, with keys / without": both(LOST),
        "started twice, the model knows the key": of("kill-start", "started twice"),
        "started twice, the model knows no keys": of("kill-keyless", "started twice"),
        "called back twice, with keys / without": both("called back more than once"),
        "late: worst end to callback, with keys / without": both(WORST),
        "create calls without an answer, with keys / without": both("create calls without an answer"),
        "of these went on, and called back, with keys / without": both("of them went on, and called back"),
    },
    "100 responses, 20 of whose callbacks are refused twice": {
        "lost": of("refusal", REFUSED_LOST),
        "late: not accepted in 240 s, and still tried": of("refusal", "late: not accepted in 240 s, and still tried"),
        "late: the last of the 20 was accepted after": of("refusal", REFUSED_WORST),
        "late: end to callback of the other 80, worst": of("refusal", "late: end to callback of the others, worst"),
        "calculated: accepted after two 500 / after four": (
            of("refusal", "reckoned: accepted after two 500", "reckoned: accepted after four 500")
        ),
        "calculated: how long a receiver may fail until the last attempt": of("refusal", LAST_ATTEMPT),
    },
    "each stream dropped after each event, and resumed": {
        "streams / events / resumes, live and of the log": (
            of("resume", "streams at once", "events", "resumes, live and of the log")
        ),
        "events lost / doubled / readers whose text differs": (
            of("resume", "events lost", "events doubled", "readers whose text differs")
        ),
        "resume of the log to its event, p50 / p99": (
            of("resume", "resume of the log to its event, p50", "the same, p99")
        ),
    },
}
LATER = {"flood", "lone"}
"""Pages of loads that were written after the others. The page of figures names each beside its commit."""

BROKEN_ROWS = [(table, row) for table, rows in BROKEN.items() for row in rows]
BROKEN_PAGES = {page for rows in BROKEN.values() for source in rows.values() for page, _ in source}
IN_README = {
    "accept a response, 25 a second": of("paced", "accept latency, p50", "accept latency, p99"),
    "completion to callback, by polling": of("jittered", "completion to callback, p50", "completion to callback, p99"),
    "from the upstream's event to the client's": of("streams", "event, live, p50", "event, live, p99"),
    "resume in a log of 3,000 events": ROWS["resume in a log of 3,000 events"],
}
IN_COMPARISON = {
    "accept latency p50 / p99, 25 a second": ROWS["accept latency p50 / p99, 25 a second"],
    "end to callback p50": ROWS["end to callback p50, 1.6 to 2.4 s"],
    "burst of 500: accepted per second": ROWS["burst of 500: accepted per second"],
    "idle CPU of the app": of("idle", "CPU of the app, per second"),
    "`kill -9` in a load: lost / called back twice": of("kill", LOST, "called back more than once"),
    "the same: worst end to callback": of("kill", WORST),
    "the same: create calls without an answer": of("kill", "create calls without an answer"),
    "`kill -9` inside 7 or 8 starts: lost / started twice": of("kill-start", LOST, "started twice"),
    "the same, the model knows no keys: started twice": of("kill-keyless", "started twice"),
    "20 of 100 callbacks refused twice with a 503: lost / last": of("refusal", REFUSED_LOST, REFUSED_WORST),
    "calculated: accepted after four 500": of("refusal", "reckoned: accepted after four 500"),
    "calculated: last attempt": of("refusal", LAST_ATTEMPT),
    "resume after each of 588 events": of("resume", "events lost", "events doubled"),
}


@pytest.mark.parametrize("begin", ROWS)
def test_a_figure_of_the_page_is_that_of_the_run(begin: str) -> None:
    """Of this build, of the one before, of each other system, and their ratios, rounded as they are shown."""
    assert wrong(PAGE, begin, ROWS[begin]) == []


@pytest.mark.parametrize(("table", "row"), BROKEN_ROWS)
def test_a_figure_of_what_breaks_is_that_of_the_run(table: str, row: str) -> None:
    """Of this build and of each other system, in every cell."""
    assert all(shown(BROKEN_CHAPTER, row, table)[1])
    assert wrong(BROKEN_CHAPTER, row, BROKEN[table][row], table) == []


@pytest.mark.parametrize("begin", IN_README)
def test_a_figure_of_the_readme_is_that_of_the_run(begin: str) -> None:
    """Its p50 and its p99."""
    _, (_, *said) = shown(README, begin)
    found = [measured(page, row)["this build"] for page, row in IN_README[begin]]
    assert [same(cell, [one]) for cell, one in zip(said, found, strict=True)] == [True, True]


def test_what_the_readme_says_of_kills_is_that_of_the_runs() -> None:
    """Nothing was lost or called back twice. Only starts at a model without keys were repeated, as many as it says."""
    rows = (LOST, "called back more than once", "started twice", "start calls that were out at the kill")
    keyless = [measured("kill-keyless", row)["this build"] for row in rows]
    keyed = [measured(page, row)["this build"] for page in ("kill", "kill-start") for row in rows[:3]]
    (said,) = re.findall(r"Where it\s+does not, (\d+) of (\d+) starts", README)
    assert [*keyed, *keyless] == ["0"] * 8 + [*said]


@pytest.mark.parametrize("begin", IN_COMPARISON)
def test_a_figure_of_the_comparison_is_that_of_the_run(begin: str) -> None:
    """Of this service and of the others."""
    assert wrong(COMPARISON, begin, IN_COMPARISON[begin]) == []


def test_every_figure_of_a_load_or_a_stream_is_compared() -> None:
    """No row of these chapters is left out."""
    chapters = PAGE.partition("\n## Loads")[2].partition("\n## Deliveries")[0].replace(BROKEN_CHAPTER, "")
    assert [row for _, row in rows_of(chapters) if not row.startswith(tuple(ROWS))] == []


def test_every_figure_of_what_breaks_is_compared() -> None:
    """The chapter has the rows that are compared, and no others."""
    assert rows_of(BROKEN_CHAPTER) == BROKEN_ROWS


def test_every_figure_of_make_bench_in_the_comparison_is_compared() -> None:
    """No row of its tables is left out. What follows them is of a harness that is elsewhere."""
    tables = COMPARISON.partition("\n## Figures\n")[2].partition("\nLangGraph is no part")[0]
    rows = [row for _, row in rows_of(tables)]
    assert rows
    assert [row for row in rows if not row.startswith(tuple(IN_COMPARISON))] == []


def test_every_chapter_names_what_prints_its_figures() -> None:
    """A chapter with a table, at any depth, has a command before it."""
    chapters = re.split(r"^#+ ", PAGE.partition("\n## How to measure")[2], flags=re.MULTILINE)
    silent = [one.splitlines()[0] for one in chapters if "\n|" in one and not COMMAND.search(one.partition("\n|")[0])]
    assert silent == []


def commit(page: str) -> str:
    """Return the commit that a page of benchmarks/ is of."""
    (found,) = re.findall(r"^\* commit (\w+),", (ROOT / "benchmarks" / f"{page}.md").read_text("utf-8"), re.MULTILINE)
    return str(found)


def test_the_page_says_of_which_commit_its_figures_are() -> None:
    """It is that of every page of the loads and the streams, and the README names it, too."""
    pages = {path.stem for path in (ROOT / "benchmarks").glob("*.md")} - {"README", *LATER} - BROKEN_PAGES
    (one,) = {commit(page) for page in pages}
    plain = " ".join(PAGE.replace(BROKEN_CHAPTER, "").split())
    assert all(f"commit `{one}`" in text for text in (plain, README))
    assert all(f"`{page}` is of commit `{commit(page)}`" in plain for page in LATER)


def test_the_chapter_of_what_breaks_says_of_which_commits_its_figures_are() -> None:
    """It names each page beside its commit, and no other commit."""
    said = re.findall(r"((?:`[\w-]+`(?:, | and )?)+) (?:is|are) of commit `(\w+)`", " ".join(BROKEN_CHAPTER.split()))
    named = {page: one for pages, one in said for page in re.findall(r"`([\w-]+)`", pages)}
    assert named == {page: commit(page) for page in BROKEN_PAGES}


@pytest.mark.parametrize(
    ("said", "found", "is_same"),
    [
        ("0.41 s", ["409 ms"], True),
        ("0.42 s", ["409 ms"], False),
        ("2.8", ["3.2"], False),
        ("11 / 19 ms", ["10.5 ms", "19.2 ms"], True),
        ("11 / 20 ms", ["10.5 ms", "19.2 ms"], False),
        ("623 / 1.3 ms", ["623", "1.34 ms"], True),
        ("0 / 9.8 s", ["0", "9.8 s"], True),
        ("0 / 9.8 s", ["400", "9.8 s"], False),
        ("5 min / 2.6 h", ["305.0 s", "9305.0 s"], True),
        ("5 min / 2.7 h", ["305.0 s", "9305.0 s"], False),
        ("76 h", ["272,105 s"], True),
        ("has none", ["has none", "has none"], True),
        ("has none", ["has none", "0"], False),
        ("0 / not in 240 s", ["0", "-"], True),
        ("0 / not in 240 s", ["0", "9.8 s"], False),
        ("0", ["-"], False),
    ],
)
def test_a_rounded_figure_is_the_same(said: str, found: list[str], is_same: bool) -> None:
    """In its own unit, and to its own last digit."""
    assert same(said, found) is is_same
