"""The figures of a cold start: what Python prints of its imports, and what is shown of them."""

from local.bench.import_tree import costs, dearest, parse
from local.bench.imports import APP, PLATFORM, Imports, Start, lines

# `function_app` imports the library `web` and our package. Our package imports `web`, which is there, and `tables.aio`.
PRINTED = """\
import time: self [us] | imported package
import time:       100 |        100 | encodings
import time:        50 |         50 |     web.server
import time:       500 |        550 |   web
import time:        30 |         30 |       tables.wire
import time:       200 |        230 |     tables
import time:         7 |        237 |     tables.aio
import time:        40 |        277 |   shared.storage
import time:         3 |        830 | function_app
something else on stderr
"""


def test_a_module_of_ours_costs_its_own_time_and_a_library_what_it_brings() -> None:
    """A library counts where a module of ours imports it. What the libraries import is part of that."""
    assert costs(parse(PRINTED)) == {
        "function_app": 3,
        "web": 550,
        "shared.storage": 40,
        "tables.aio": 237,
        "tables": 230,
    }


def test_modules_that_nothing_of_ours_imports_cost_the_app_nothing() -> None:
    """What Python imports at its start, and what the platform has imported before, is not the app's."""
    assert costs(parse("import time: 9 | 9 | site\nimport time: 1 | 10 | uvicorn\n")) == {}


def test_the_dearest_modules_are_those_of_the_best_run() -> None:
    """A run that was disturbed makes no module look dear. The list is ordered, and has the length that is asked for."""
    runs = [{"a": 9_000, "b": 2_000, "c": 1}, {"a": 3_000, "b": 5_000, "c": 2}]
    assert dearest(runs, 2) == [("a", 3.0), ("b", 2.0)]


def test_the_figures_of_a_start_are_shown() -> None:
    """Each start has a line. The ratio of the two processor times and the dearest modules follow."""
    starts = {PLATFORM: Start(0.5, 0.4, 48.6), APP: Start(0.8, 0.6, 70)}
    shown = lines(Imports(starts, 1.5, [("httpx", 41.24)]))
    assert shown[0] == f"{PLATFORM}: 0.50 s, of the processor 0.40 s, 49 MiB"
    assert any("1.50 times" in line for line in shown)
    assert shown[-1].split() == ["41.2", "ms", "httpx"]
