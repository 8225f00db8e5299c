"""The pages of the benchmark: ratios, tables and plots."""

import re
from xml.etree import ElementTree

import pytest

from local.bench.meters.ratios import Measured, medians, ratio
from local.bench.plots.pages import Column, Page, Row, index, wins
from local.bench.plots.report import Machine, quietness
from local.bench.plots.svg import BARS, Bar, Group, chart
from local.bench.questions import QUESTIONS

ROWS = (
    Row("cpu", "CPU", "{:.1f} ms", plotted=True, aim="<= 0.4 x"),
    Row("lost", "lost", "{:.0f}"),
    Row("requests", "requests", "{:.0f}", plotted=True),
)
OURS = Column("this build", [{"cpu": 10.0, "lost": 0, "requests": 6}, {"cpu": 20.0, "lost": 0, "requests": 6}])
BASE = Column("dd14d2e", [{"cpu": 30.0, "lost": 0, "requests": None}])
BROKEN = Column("a<b", trouble="it is not installed here")
PAGE = Page("paced", "responses of 2 s", ROWS, [OURS, BASE, BROKEN], ["2 CPUs", "commit abc"])
SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [(1.0, 4.0, 0.25), (4, 1, 4), (0, 4, 0), (0, 0, 1), (3, 0, None), (None, 1, None), (1, None, None)],
)
def test_a_ratio_is_ours_to_theirs(ours: float | None, theirs: float | None, expected: float | None) -> None:
    """Two zeros are equal. A ratio to zero, or to nothing, does not exist."""
    assert ratio(ours, theirs) == expected


def test_rounds_are_combined_by_their_median() -> None:
    """The median leaves one slow round out. A round without a value does not count, and no value at all is None."""
    rounds: list[Measured] = [
        {"a": 1.0, "b": None},
        {"a": 9.0, "b": None},
        {"a": 2.0, "b": None, "c": 5.0},
        {"a": None, "b": None},
    ]
    assert medians(rounds) == {"a": 2.0, "b": None, "c": 5.0}
    assert medians([]) == {}


def test_a_page_compares_this_build_with_the_others() -> None:
    """Each other system has its value and the ratio of this build to it, and a dash where nothing was measured."""
    lines = PAGE.text().splitlines()
    assert lines[0] == "paced: responses of 2 s"
    assert lines[1].split() == ["this", "build", "dd14d2e", "ratio", "a<b", "ratio", "aim"]
    assert lines[2].split() == ["CPU", "15.0", "ms", "30.0", "ms", "0.50", "-", "-", "<=", "0.4", "x"]
    assert lines[3].split() == ["lost", "0", "0", "1.00", "-", "-"]
    assert lines[4].split() == ["requests", "6", "-", "-", "-", "-"]
    assert lines[5] == "a<b was not measured: it is not installed here"


def test_a_page_says_where_others_win() -> None:
    """They win with less or with more, as the row says. Nobody wins where values look equal, or no row says it."""
    rows = (
        Row("late", "late", "{:.1f} s", less_wins=True),
        Row("rate", "rate", "{:.0f}", less_wins=False),
        Row("cpu", "CPU", "{:.0f}"),
    )
    ours = Column("this build", [{"late": 2.0, "rate": 5, "cpu": 9}])
    one = Column("a", [{"late": 1.0, "rate": 7, "cpu": 1}])
    other = Column("b", [{"late": 1.96, "rate": 4, "cpu": None}])
    assert wins(rows, [ours, one, other]) == ["late: a 1.0 s (this build 2.0 s)", "rate: a 7 (this build 5)"]
    won = "Where they win: late: a 1.0 s (this build 2.0 s); rate: a 7 (this build 5)."
    assert won in Page("q", "?", rows, [ours, one, other], []).markdown()
    assert "Where they win: nowhere in this table." in Page("q", "?", rows, [ours, other], []).text()
    assert "win" not in PAGE.text() + Page("q", "?", rows, [ours], []).markdown()


def test_a_page_says_what_a_system_does_not_have() -> None:
    """It is not a dash, which is for what was not measured."""
    page = Page("q", "?", ROWS[:1], [OURS, Column("a", trouble="a: no streams", lacks=True)], ["n"], ["a is set so"])
    assert "| CPU | 15.0 ms | has none | - | <= 0.4 x |" in page.markdown()
    assert "* n\n* a is set so\n* a was not measured: a: no streams" in page.markdown()
    assert "a is set so" not in (page.plot() or "")


def test_a_page_in_markdown_has_its_plot_and_what_it_was_measured_on() -> None:
    """The table has one row for each figure. The notes and the troubles follow the plot."""
    text = PAGE.markdown()
    assert text.startswith("# paced\n\nresponses of 2 s\n\n| ")
    assert "| CPU | 15.0 ms | 30.0 ms | 0.50 | - | - | <= 0.4 x |" in text
    assert re.search(r"\[paced\]\(paced\.svg\).*\* 2 CPUs\n\* commit abc\n\* a<b was not measured", text, re.DOTALL)


def test_a_page_without_a_measured_figure_has_no_plot() -> None:
    """A page on which only text was measured, or nothing at all, names no plot."""
    page = Page("paced", "responses of 2 s", ROWS, [BROKEN], [])
    assert page.plot() is None
    assert ".svg" not in page.markdown()


def test_a_plot_has_a_bar_for_each_system_and_figure() -> None:
    """The longest bar of a group has the full length. A system that was not measured has no bar."""
    root = ElementTree.fromstring(PAGE.plot() or "")
    bars = [one for one in root.iter(f"{SVG}rect") if one.get("x") is not None]
    widths = [float(one.get("width") or 0) for one in bars]
    assert widths == [BARS / 2, BARS, BARS, 0]
    assert [one.get("fill") for one in bars][:2] == [one.get("fill") for one in bars][2:]
    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert {"CPU", "15.0 ms", "30.0 ms", "requests", "2 CPUs", "commit abc"} <= set(texts)
    assert "lost" not in texts


def test_a_plot_shows_names_with_any_characters() -> None:
    """Names are text, and no part of the markup. Bars of 0 and no bars are drawn, too."""
    root = ElementTree.fromstring(
        chart("a & b", "?", [Group("<x>", [Bar("'\"<", 0.0, "0"), Bar("n", None, "-")])], ["&"])
    )
    texts = [one.text for one in root.iter(f"{SVG}text")]
    assert texts == ["a & b", "?", "<x>", "'\"<", "0", "n", "-", "&"]


def test_every_question_has_its_own_page_with_a_plot() -> None:
    """Names are names of files, keys are not repeated, and something is plotted."""
    names = [one.name for one in QUESTIONS]
    assert len(set(names)) == len(names)
    for question in QUESTIONS:
        assert re.fullmatch(r"[a-z-]+", question.name)
        keys = [row.key for row in question.rows]
        assert len(set(keys)) == len(keys)
        assert any(row.plotted for row in question.rows)
        assert (question.of_builds is None) != (question.of_all is None)


def test_a_page_says_on_which_machine_it_was_measured() -> None:
    """The processors, Python and Azurite are named."""
    machine = str(Machine(2, "x86_64", "3.12.1", "3.37.0"))
    assert machine == "2 CPUs (x86_64), Python 3.12.1, Azurite 3.37.0"


@pytest.mark.parametrize(("load", "verdict"), [(0.4, "quiet"), (0.5, "quiet"), (0.6, "busy"), (3, "busy")])
def test_a_page_says_whether_the_machine_was_quiet(load: float, verdict: str) -> None:
    """On 2 processors, other work up to a load of 0.5 counts as quiet."""
    assert f"load average before the runs: {load:.2f} on 2 CPUs, {verdict}" in quietness(load, 2)


def test_the_index_leads_to_every_page() -> None:
    """There is one link for each page."""
    assert re.findall(r"\[(.*?)\]\((.*?)\)", index(["paced", "kill"])) == [("paced", "paced.md"), ("kill", "kill.md")]
