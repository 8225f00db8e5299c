"""`python -m local.bench`: measure the service on the real stack, print the figures and write their pages.

No figure makes it fail. It returns 1 if a run of this build could not be made.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil

from local.azurite.choice import VERSION
from local.bench import imports
from local.bench.builds.base import base, head
from local.bench.builds.build import Build
from local.bench.deliveries.black_hole import Size, time_beside_hole
from local.bench.deliveries.lines import black_hole_lines, callback_lines, delivered
from local.bench.deliveries.sender import time_deliveries
from local.bench.loads.runs import webhooks_run
from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender
from local.bench.peers.catalogue import PEERS
from local.bench.plots.pages import Page, index
from local.bench.plots.report import Machine, quietness, table
from local.bench.questions import QUESTIONS
from local.bench.rounds import asked
from local.bench.streams.lines import Line
from local.progress import step
from local.stack.process import ROOT, PartError, interrupt_on_signals

INTERRUPTED = 130
DELIVERIES, IMPORTS = "deliveries", "imports"
NAMES = (*(one.name for one in QUESTIONS), DELIVERIES, IMPORTS)
COMPARED_ROUNDS = 2


def main() -> int:
    """Make the runs, print their figures and write their pages. Return the exit code."""
    given = _arguments()
    interrupt_on_signals()
    try:
        with ExitStack() as cleanup:
            compared: list[Contender] = [cleanup.enter_context(base(given.base))] if given.base else []
            return _bench(given, [Build(), *compared, *(PEERS if given.peers else ())])
    except PartError as error:
        print(f"bench failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.bench", description=__doc__)
    parser.add_argument("--runs", nargs="+", choices=NAMES, default=NAMES, metavar="RUN", help=", ".join(NAMES))
    parser.add_argument("--base", metavar="COMMIT", help="compare with this commit, on this checkout's local host")
    parser.add_argument("--peers", action="store_true", help="compare with other systems that do the same work")
    parser.add_argument("--rounds", type=int, help=f"1, or {COMPARED_ROUNDS} if something is compared")
    parser.add_argument("--scale", type=float, default=1.0, help="multiplies every count, from 0 to 1 (default: 1)")
    parser.add_argument("--in-flight", type=int, help="the number of responses in flight, instead of the scaled one")
    parser.add_argument("--aged", type=float, default=0, help="seconds until those in flight are watched (default: 0)")
    parser.add_argument("--pages", type=Path, default=ROOT / "benchmarks", help="the folder for pages and plots")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, too")
    return parser.parse_args()


def _bench(given: argparse.Namespace, contenders: Sequence[Contender]) -> int:
    sizes = Sizes().scaled(given.scale)
    sizes = replace(sizes, in_flight=given.in_flight or sizes.in_flight, aged_s=given.aged)
    rounds = given.rounds or (COMPARED_ROUNDS if len(contenders) > 1 else 1)
    notes = [*_notes(), *(f"{one.name}: {one.about}" for one in contenders[1:]), f"rounds: {rounds}; sizes: {sizes}"]
    details = [f"{one.name}: {one.configured}." for one in contenders if one.configured]
    print("\n".join(notes), flush=True)
    given.pages.mkdir(parents=True, exist_ok=True)
    pages = []
    for question in QUESTIONS:
        if question.name in given.runs:
            with step(f"{question.name}: {question.asks}"):
                columns = asked(question, contenders, rounds, sizes)
            pages.append(Page(question.name, question.asks, question.rows, columns, notes, details))
            _show(pages[-1], given.pages)
    written = [one.name for one in QUESTIONS if (given.pages / f"{one.name}.md").exists()]
    (given.pages / "README.md").write_text(index(written), encoding="utf-8")
    others = _others(given.runs, sizes)
    if given.json:
        measured = {page.name: {one.name: dict(one.values) for one in page.columns} for page in pages}
        print(json.dumps(measured | others))
    return int(any(page.columns[0].trouble for page in pages))


def _show(page: Page, folder: Path) -> None:
    """Print a page, and write it and its plot. A page that was written before is replaced."""
    print(f"\n{page.text()}", flush=True)
    (folder / f"{page.name}.md").write_text(page.markdown(), encoding="utf-8")
    if plot := page.plot():
        (folder / f"{page.name}.svg").write_text(plot, encoding="utf-8")


def _others(runs: Sequence[str], sizes: Sizes) -> dict[str, object]:
    """Print what is measured of this build alone, and return it by name."""
    found: dict[str, object] = {}
    if DELIVERIES in runs:
        found[DELIVERIES] = {line.label: line.cells for lines in _deliveries(sizes) for line in _printed(lines)[1:]}
    if IMPORTS in runs:
        cold = imports.measured()
        print("\n" + "\n".join(["a cold start imports", *imports.lines(cold)]), flush=True)
        found[IMPORTS] = asdict(cold)
    return found


def _deliveries(sizes: Sizes) -> Iterator[list[Line]]:
    slowly = max(1, sizes.delivered * 2 // 5)
    yield delivered(time_deliveries(sizes.delivered, answer_s=0), time_deliveries(slowly, answer_s=0.2))
    yield black_hole_lines(time_beside_hole(Size(sizes.beside)))
    yield callback_lines(webhooks_run(sizes))


def _printed(lines: list[Line]) -> list[Line]:
    print(f"\n{table(lines)}", flush=True)
    return lines


def _notes() -> list[str]:
    machine = Machine(os.cpu_count(), platform.machine(), platform.python_version(), VERSION)
    now = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    system = f"{platform.system()} {platform.release()}"
    return [f"{machine}, {system}", quietness(psutil.getloadavg()[1], os.cpu_count()), f"commit {head()}, {now}"]


if __name__ == "__main__":
    sys.exit(main())
