"""Texts that are hostile to a regular expression, and whether it takes more than linear time for one of them.

A pattern is slow if the same characters can be divided between its parts in many ways, or if each beginning of a match
reads far. So a text brings the pattern to one of its repeats, goes on for long with what the repeat may accept, and
ends so that there is no match. Or it is the beginning of a match, again and again.
"""

import re
from collections.abc import Callable, Iterator
from importlib import import_module
from itertools import product
from time import thread_time
from typing import Any

SHORT, LONG = 2_000, 16_000  # characters
# Lengths from which the time of a pattern is watched, so that an exponential one ends the test and does not hang it.
GROWING = (16, 24, 64, 256, 700)
# Of a short text: two million steps, which quadratic time needs at the least, take longer by far.
UNSUSPECTED_S = 0.000_025
NOTICED_S = 0.002  # what is faster for a long text needs no comparison
MOST_S = 0.05  # for a short text
MOST_GROWTH = 24.0  # from the short to the long text: 8 times is linear, and 64 times quadratic
TRIES = 5
_PARSER: Any = import_module("re._parser")  # what a pattern consists of. Python has no public name for it
_RUNS = (*"aA0 /.:@?#&=-_,\"'<>\n\t", "a.", "a_", "a ", "a/")
_ENDS = ("", "\n", "\0", "a")
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT")

Use = Callable[[re.Pattern[Any], Any], object]
USES: dict[str, Use] = {
    "fullmatch": lambda pattern, text: pattern.fullmatch(text),
    "match": lambda pattern, text: pattern.match(text),
    "search": lambda pattern, text: pattern.search(text),
    "finditer": lambda pattern, text: sum(1 for _ in pattern.finditer(text)),
}
"""The ways to use a pattern. `sub`, `split` and `findall` go through a text as `finditer` does."""


def slow_text(pattern: re.Pattern[Any], used: str) -> str | None:
    """Return the description of a text for which the time of a pattern grows faster than its length, or None."""
    use = USES[used]
    for start, run, end in sorted(set(_plans(pattern))):

        def text(size: int, start: str = start, run: str = run, end: str = end) -> Any:
            made = start + run * (size // len(run)) + end
            return made.encode("utf-8", "replace") if isinstance(pattern.pattern, bytes) else made

        if _is_slow(use, pattern, text) and _is_slow(use, pattern, text):  # the machine may have been busy once
            return f"{start!r} + {run!r} * n + {end!r}"
    return None


def _is_slow(use: Use, pattern: re.Pattern[Any], text: Callable[[int], Any]) -> bool:
    if any(_time(use, pattern, text(size)) > MOST_S for size in (*GROWING, SHORT)):
        return True  # the long text might take hours
    if _time(use, pattern, text(SHORT)) < UNSUSPECTED_S:
        return False
    short = _time(use, pattern, text(SHORT))
    long = _time(use, pattern, text(LONG))
    return long > NOTICED_S and long > MOST_GROWTH * short


def _time(use: Use, pattern: re.Pattern[Any], text: Any, tries: int = TRIES) -> float:
    """Return the processor time of the fastest of some tries, in seconds. Other processes do not count in it."""
    best = float("inf")
    for _ in range(tries):
        begun = thread_time()
        use(pattern, text)
        best = min(best, thread_time() - begun)
        if best < UNSUSPECTED_S or best > 5 * MOST_S:
            break
    return best


def _plans(pattern: re.Pattern[Any]) -> Iterator[tuple[str, str, str]]:
    """Return texts as their beginning, what is repeated, and their end."""
    source = pattern.pattern.decode() if isinstance(pattern.pattern, bytes) else pattern.pattern
    nodes = _PARSER.parse(source, pattern.flags & ~re.UNICODE)
    starts = {start for is_short in (True, False) for start in _starts(nodes, ["", []], is_short=is_short)}
    yield from product(starts | {""}, _RUNS, _ENDS)
    for start in starts - {""}:
        yield from product([""], [start, *(start + run for run in ("a", " "))], _ENDS)


def _starts(nodes: Any, state: list[Any], *, is_short: bool) -> list[str]:
    """Return the texts that lead to each repeat of a pattern. `state` has the text before these nodes, and is moved."""
    for kind, said in nodes:
        _step(str(kind), said, state, is_short=is_short)
    return [*state[1], state[0]]


def _step(kind: str, said: Any, state: list[Any], *, is_short: bool) -> None:
    if kind == "LITERAL":
        state[0] += chr(said)
    elif kind == "IN":
        state[0] += _member(said)
    elif kind in ("ANY", "NOT_LITERAL"):
        state[0] += "a" if said != ord("a") else "b"
    else:
        _go_through(kind, said, state, is_short=is_short)


def _go_through(kind: str, said: Any, state: list[Any], *, is_short: bool) -> None:
    """Step through a part that has parts."""
    if kind == "BRANCH":
        before = state[0]
        for branch in reversed(said[1]):  # what follows is behind the first one
            state[0] = before
            _starts(branch, state, is_short=is_short)
    elif kind in _REPEATS:
        state[1].append(state[0])
        for _ in range(max(said[0], 0 if is_short else 1)):
            _starts(said[2], state, is_short=is_short)
    elif kind in ("SUBPATTERN", "ATOMIC_GROUP"):
        _starts(said[-1] if kind == "SUBPATTERN" else said, state, is_short=is_short)


def _member(said: Any) -> str:
    """Return a character of a class."""
    accepted = re.compile("[" + "".join(map(_in_class, said)) + "]")
    return next((one for one in "a0A /-:_.d89\u0001\ud800" if accepted.match(one)), "a")


def _in_class(part: tuple[Any, Any]) -> str:
    kind, said = str(part[0]), part[1]
    if kind == "LITERAL":
        return re.escape(chr(said))
    if kind == "RANGE":
        return "-".join(re.escape(chr(one)) for one in said)
    if kind == "NEGATE":
        return "^"
    return {"CATEGORY_SPACE": r"\s", "CATEGORY_NOT_SPACE": r"\S", "CATEGORY_DIGIT": r"\d"}[str(said)]
