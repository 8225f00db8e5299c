"""`python -m local.chaos`: run the service under load and faults, and audit it. Exit code 1 if anything is violated."""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from local.chaos.plan import make_plan
from local.chaos.report import heading, lines
from local.chaos.run import run
from local.chaos.selftest import selftest
from local.stack.process import PartError, interrupt_on_signals

MOST_MINUTES = 45.0  # the simulated upstream forgets a response after an hour


def main() -> int:
    """Run what the command line asks for, and return the exit code."""
    given = _arguments()
    interrupt_on_signals()
    try:
        return _chaos(given)
    except PartError as error:
        print(error, file=sys.stderr)
        return 1


def _chaos(given: argparse.Namespace) -> int:
    if given.selftest is not None:
        return 0 if selftest(given.seed, say, given.selftest) else 1
    plan = make_plan(given.seed, given.minutes * 60)
    say(heading(plan))
    with tempfile.TemporaryDirectory(prefix="chaos-") as directory:
        report = run(plan, Path(directory), say)
    for line in lines(report):
        say(line)
    return 0 if report.holds else 1


def say(line: str) -> None:
    """Print a line at once."""
    print(line, flush=True)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m local.chaos", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="of load and faults, 0.5 to 45")
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000, help="decides every fault and call")
    parser.add_argument("--selftest", nargs="?", const="", help="plant the faults whose name contains this, one by one")
    given = parser.parse_args()
    if not 0.5 <= given.minutes <= MOST_MINUTES:
        parser.error(f"--minutes must be from 0.5 to {MOST_MINUTES:g}")
    return given


if __name__ == "__main__":
    sys.exit(main())
