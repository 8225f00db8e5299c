"""Reads what `python -X importtime` prints, and finds the modules whose import takes the longest. Pure.

Python prints a line when a module has been imported, so the modules that it imports stand above it, one level deeper.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

_LINE = re.compile(r"import time: +(\d+) \| +(\d+) \| ( *)(\S+)$")
OURS = ("function_app", "functions", "shared")


@dataclass(frozen=True, slots=True)
class Imported:
    """A module, and how long its import took: by itself, and with the modules that it was the first to import."""

    name: str
    own_us: int
    whole_us: int
    depth: int

    @property
    def is_ours(self) -> bool:
        """Whether this is a module of the product."""
        return self.name.partition(".")[0] in OURS


def parse(text: str) -> list[Imported]:
    """Return the modules in the order in which their imports ended."""
    found = filter(None, map(_LINE.match, text.splitlines()))
    return [Imported(one[4], int(one[1]), int(one[2]), len(one[3]) // 2) for one in found]


def costs(modules: Iterable[Imported]) -> dict[str, int]:
    """Return what each module costs that the product is, or imports itself, in microseconds.

    A module of ours costs its own time, and a library's module also that of everything that it is the first to import.
    """
    return {one.name: one.own_us if one.is_ours else one.whole_us for one in _of_the_product(list(modules))}


def _of_the_product(modules: list[Imported]) -> Iterator[Imported]:
    importers: list[Imported] = []  # the chain of modules that import the next line's, from the outside
    for one in reversed(modules):
        del importers[one.depth :]
        if one.is_ours or (importers and importers[-1].is_ours):
            yield one
        importers.append(one)


def dearest(runs: Iterable[dict[str, int]], count: int) -> list[tuple[str, float]]:
    """Return the modules that cost most and what each costs in the best of several runs, in ms."""
    best: dict[str, int] = {}
    for run in runs:
        best = {name: min(cost_us, best.get(name, cost_us)) for name, cost_us in run.items()}
    ordered = sorted(best.items(), key=lambda item: item[1], reverse=True)
    return [(name, cost_us / 1000) for name, cost_us in ordered[:count]]
