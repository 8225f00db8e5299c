"""Draws bars as SVG, without any library: a group for each figure, a bar for each system. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from textwrap import wrap
from xml.sax.saxutils import escape

WIDTH = 760
LEFT = 170
BARS = 430  # the length of the longest bar of a group
BAR, GAP, GROUP = 16, 4, 26
TOP, BOTTOM = 64, 14
NOTE, NOTE_LETTERS = 14, 125
COLOURS = ("#1f6feb", "#9aa4af", "#d29922", "#2da44e", "#8250df", "#cf222e")
INK = "#1f2328"
FONT = "font-family='system-ui, sans-serif'"


@dataclass(frozen=True, slots=True)
class Bar:
    """One system's value. `shown` is its text, and a value of None has no bar."""

    name: str
    value: float | None
    shown: str


@dataclass(frozen=True, slots=True)
class Group:
    """One figure: bars on a scale of their own, from 0 to the largest value."""

    label: str
    bars: Sequence[Bar]


def chart(title: str, asks: str, groups: Sequence[Group], notes: Sequence[str]) -> str:
    """Return an SVG document: the title and what is asked, every group below the one before, and the notes.

    Each system has the same colour in every group: the place of its name among all names.
    """
    lines = [line for note in notes for line in wrap(note, NOTE_LETTERS)]
    top = TOP + sum(map(_height, groups))
    height = top + BOTTOM + NOTE * len(lines)
    inside = "\n".join([*_head(title, asks, height), *_groups(groups), *_notes(lines, top + BOTTOM)])
    size = f"width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {size} {FONT}>\n{inside}\n</svg>\n"


def _head(title: str, asks: str, height: int) -> Iterator[str]:
    yield f"<title>{escape(title)}</title>"
    yield f"<rect width='{WIDTH}' height='{height}' fill='#ffffff'/>"
    yield _text(16, 28, title, size=16, weight=600)
    yield _text(16, 46, asks, size=12)


def _groups(groups: Sequence[Group]) -> Iterator[str]:
    names = list(dict.fromkeys(bar.name for group in groups for bar in group.bars))
    top = TOP
    for group in groups:
        yield from _group(group, names, top)
        top += _height(group)


def _notes(lines: Sequence[str], top: int) -> Iterator[str]:
    for number, line in enumerate(lines):
        yield _text(16, top + number * NOTE, line, size=10, fill="#57606a")


def _group(group: Group, names: Sequence[str], top: int) -> Iterator[str]:
    longest = max((bar.value for bar in group.bars if bar.value is not None), default=0.0)
    yield _text(16, top + 12, group.label, size=12, weight=600)
    for number, bar in enumerate(group.bars):
        y = top + 18 + number * (BAR + GAP)
        length = BARS * bar.value / longest if bar.value is not None and longest > 0 else 0
        colour = COLOURS[names.index(bar.name) % len(COLOURS)]
        yield _text(LEFT - 8, y + 12, bar.name, anchor="end")
        yield f"<rect x='{LEFT}' y='{y}' width='{max(length, 0):.1f}' height='{BAR}' fill='{colour}'/>"
        yield _text(LEFT + max(length, 0) + 6, y + 12, bar.shown)


def _height(group: Group) -> int:
    return len(group.bars) * (BAR + GAP) + GROUP


def _text(
    x: float, y: float, text: str, *, size: int = 11, weight: int = 400, fill: str = "#1f2328", anchor: str = "start"
) -> str:
    style = f"font-size='{size}' font-weight='{weight}' fill='{fill}' text-anchor='{anchor}'"
    return f"<text x='{x:.1f}' y='{y:.1f}' {style}>{escape(text)}</text>"
