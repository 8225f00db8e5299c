"""`python -m local.bench`: measure the service on the real stack and print the figures. No figure makes it fail."""

import argparse
import json
import os
import platform
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict

from local.azurite.choice import VERSION
from local.bench import imports
from local.bench.deliveries.black_hole import time_beside_hole
from local.bench.deliveries.lines import black_hole_lines, callback_lines, delivered
from local.bench.deliveries.sender import time_deliveries
from local.bench.loads.runs import BURST, COUNTED, PACED, WITH_WEBHOOKS, run
from local.bench.plots.report import Machine, page, table
from local.bench.streams.lines import Line, requested, timed, used
from local.bench.streams.timed import count_requests, time_streams
from local.stack.process import PartError, interrupt_on_signals

INTERRUPTED = 130
RUNS = {"burst": BURST, "paced": PACED}
ABOUT = """\
Nine runs after a warm-up, all but the deliveries on a fresh stack. The model takes 2 s for a response, or no time
beside the black hole. Each response has a callback. Streams have 20 events a second, and each says when it was due.
burst       500 responses, as fast as 16 closed-loop clients submit them
paced       500 responses, 25 a second
counted     200 responses, 25 a second, through a tap before Azurite that counts the storage requests
streams     a live client and a reader of the log, short streams, resumed streams, 50 at once
stream      one stream through such a tap
deliveries  1,000 by the sender alone, 24 at once to 8 hosts in another process, 2 kB each; 400 to slow hosts
black hole  600 responses, 20 a second, half of the callbacks to another host; then that host never answers
webhooks    100 responses, 5 a second; the model sends a webhook when each one ends
"""


def main() -> int:
    """Make the runs and print their figures. Return 1 if a run could not be made."""
    given = _arguments()
    interrupt_on_signals()
    try:
        _bench(as_json=given.json)
    except PartError as error:
        print(f"bench failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return INTERRUPTED
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, too")
    return parser.parse_args()


def _bench(*, as_json: bool) -> None:
    print(ABOUT, flush=True)
    found = {name: run(load).figures for name, load in RUNS.items()}
    counted = run(COUNTED, tapped=True)
    machine = _machine(counted.azurite)
    print(page(machine, found, counted.storage_requests), flush=True)
    cells = {"streams": _shown(_streams()), "deliveries": _shown(_deliveries())}
    cold = imports.measured()
    print("\n" + "\n".join(["a cold start imports", *imports.lines(cold)]))
    if as_json:
        runs = {name: asdict(one) for name, one in found.items()}
        requests = [asdict(one) for one in counted.storage_requests]
        parts = {
            "machine": asdict(machine),
            "runs": runs,
            "storage_requests": requests,
            "imports": asdict(cold),
            **cells,
        }
        print(json.dumps(parts))


def _streams() -> Iterator[list[Line]]:
    seen = time_streams()
    yield timed(seen)
    yield used(seen)
    yield requested(count_requests())


def _deliveries() -> Iterator[list[Line]]:
    yield delivered(time_deliveries(1000, answer_s=0), time_deliveries(400, answer_s=0.2))
    yield black_hole_lines(time_beside_hole())
    yield callback_lines(run(WITH_WEBHOOKS, webhooks=True).figures)


def _shown(tables: Iterable[list[Line]]) -> dict[str, Sequence[str]]:
    """Print each table as soon as it is ready. Return the cells of all tables by label."""
    cells: dict[str, Sequence[str]] = {}
    for lines in tables:
        print(f"\n{table(lines)}", flush=True)
        cells |= {line.label: line.cells for line in lines[1:]}
    return cells


def _machine(azurite: str) -> Machine:
    return Machine(os.cpu_count(), platform.machine(), platform.python_version(), f"{VERSION} ({azurite})")


if __name__ == "__main__":
    sys.exit(main())
