"""`python -m local.bench`: measure the service over the real stack and print the figures; no figure fails it."""

import argparse
import json
import os
import platform
import sys
from dataclasses import asdict

from local.azurite.choice import VERSION
from local.bench.report import Machine, page, table
from local.bench.runs import BURST, COUNTED, PACED, run
from local.bench.stream_figures import requested, timed, used
from local.bench.streams import count_requests, time_streams
from local.process import PartError, interrupt_on_signals

INTERRUPTED = 130
RUNS = {"burst": BURST, "paced": PACED}
ABOUT = """\
Five runs, each on a fresh stack after a warm-up. In the first three a response takes the model 2 s and has a callback;
streams have 20 events a second, whose text is the time at which each was due.
burst    500 responses, as fast as 16 closed-loop clients submit them
paced    500 responses, 25 a second
counted  200 responses, 25 a second, through a tap before Azurite that counts the storage requests
streams  one with a live client and one that reads the log, short ones, resumed ones, 50 at once
stream   one through such a tap
"""


def main() -> int:
    """Make the runs and print their figures; 1 if one could not be made."""
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
    seen = time_streams()
    streams = timed(seen), used(seen), requested(count_requests())
    for lines in streams:
        print(f"\n{table(lines)}")
    if as_json:
        runs = {name: asdict(one) for name, one in found.items()}
        requests = [asdict(one) for one in counted.storage_requests]
        cells = {line.label: line.cells for lines in streams for line in lines[1:]}
        parts = {"machine": asdict(machine), "runs": runs, "storage_requests": requests, "streams": cells}
        print(json.dumps(parts))


def _machine(azurite: str) -> Machine:
    return Machine(os.cpu_count(), platform.machine(), platform.python_version(), f"{VERSION} ({azurite})")


if __name__ == "__main__":
    sys.exit(main())
