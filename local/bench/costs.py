"""What responses cost, in units that Azure bills: `python -m local.bench.costs` prints the table of docs/operations.md.

This is a model, not a measurement. Its request counts are those of the design. `tests/storage` counts those of single
steps, and `make bench RUNS=lone` those of whole responses. Durable Functions are modelled as a monitor that polls at
the same times, with 15 storage requests and 3 executions per step.
"""

import argparse
from dataclasses import dataclass

from shared.core.backoff import poll_delay

DURATIONS = {"2 s": 2, "30 s": 30, "2 min": 120, "10 min": 600, "1 h": 3_600, "4 h": 14_400}
SHARDS = 16
OWN_REQUESTS = 4  # the transactions that accept a response, record its start and its end, and note its delivery
WATCHED_S = 25  # how long the process that started a response polls it without storage
LEASE_S = 9  # a lease of 15 s is renewed that often
HAND_OVER_REQUESTS = 2  # the move of the lease to the next poll, and the read of the record at the end
PURGE_REQUESTS = 4  # move its alarm, read the children, two deletions
SWEEP_REQUESTS = 5  # put, get and delete a wake-up, read and move alarms
MOVED_AT_ONCE = 50  # alarms in one transaction
OWN_EXECUTIONS = 1  # the create
GROUPS = 2  # HTTP and sweeps: each scales separately
EXECUTION_S = 1.0  # the shortest billed time
STREAM_WRITES_S = 7  # of a stream with 20 events a second
DURABLE_REQUESTS, DURABLE_EXECUTIONS = 15, 3
IDLE_REQUESTS = 24 * 60 * SHARDS + 24 * 12 * 4 + 2 * 24 * 120  # a day: heartbeats, poison queues, leases of two timers
DURABLE_IDLE_REQUESTS = 49_000


@dataclass(frozen=True)
class Plan:
    """How the app runs: responses per second, memory of an instance, concurrent streams on an instance."""

    rate: float
    memory_gb: float
    streams: int


@dataclass(frozen=True)
class Cost:
    """What 1,000 responses use."""

    requests: float
    executions: float
    gb_s: float


def polls(duration_s: int) -> int:
    """Return how often a response of that duration is polled, including the poll that finds its end."""
    at_ms = count = 0
    while at_ms < duration_s * 1000:
        at_ms += poll_delay(at_ms, lambda: 0.0)
        count += 1
    return count


def polled(duration_s: int, plan: Plan) -> Cost:
    """Return the cost of responses that are polled.

    A response is watched at first, and then polled by sweeps. A sweep serves all alarms of its shard, and there is at
    most one sweep of a shard per second.
    """
    watched_s = min(duration_s, WATCHED_S)
    by_sweeps = max(0, polls(duration_s) - polls(watched_s)) if duration_s > WATCHED_S else 0
    sweeps = min(by_sweeps, SHARDS / plan.rate)
    moves = (by_sweeps - sweeps) / MOVED_AT_ONCE
    requests = float(OWN_REQUESTS + PURGE_REQUESTS + watched_s // LEASE_S)
    if by_sweeps:
        requests += HAND_OVER_REQUESTS + duration_s / 60 + SWEEP_REQUESTS * sweeps + moves
    executions = OWN_EXECUTIONS + sweeps
    gb_s = plan.memory_gb * min(executions * EXECUTION_S, GROUPS / plan.rate)
    return Cost(1000 * requests, 1000 * executions, 1000 * gb_s)


def streamed(duration_s: int, plan: Plan) -> Cost:
    """Return the cost of responses that are streamed to one client. An open stream keeps its instance billed."""
    at_once = min(plan.streams, max(1.0, plan.rate * duration_s))
    requests = OWN_REQUESTS + PURGE_REQUESTS + STREAM_WRITES_S * duration_s
    gb_s = plan.memory_gb * (max(duration_s, EXECUTION_S) / at_once + EXECUTION_S)
    return Cost(1000 * requests, 1000.0 * OWN_EXECUTIONS, 1000 * gb_s)


def durable(duration_s: int, plan: Plan) -> Cost:
    """Return the cost of a Durable Functions monitor that polls at the same times."""
    steps = polls(duration_s)
    executions = DURABLE_EXECUTIONS * steps
    gb_s = plan.memory_gb * min(executions * EXECUTION_S, GROUPS / plan.rate)
    return Cost(1000.0 * DURABLE_REQUESTS * steps, 1000.0 * executions, 1000 * gb_s)


def table(plan: Plan) -> str:
    """Return a Markdown table of what 1,000 responses use, by duration."""
    lines = [
        "| takes | polls | requests | executions | GB-s | streamed: requests | GB-s | Durable: requests | executions |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for label, duration_s in DURATIONS.items():
        ours, stream, theirs = (kind(duration_s, plan) for kind in (polled, streamed, durable))
        cells = [
            label,
            f"{polls(duration_s)}",
            f"{ours.requests:,.0f}",
            f"{ours.executions:,.0f}",
            f"{ours.gb_s:,.0f}",
            f"{stream.requests:,.0f}",
            f"{stream.gb_s:,.0f}",
            f"{theirs.requests:,.0f}",
            f"{theirs.executions:,.0f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m local.bench.costs", description="Units that 1,000 responses use.")
    parser.add_argument("--rate", type=float, default=0.01, help="responses a second (default: one every 100 s)")
    parser.add_argument("--memory-mb", type=int, default=2048, help="memory of an instance")
    parser.add_argument("--streams", type=int, default=50, help="streams that an instance holds at once")
    given = parser.parse_args()
    print(table(Plan(given.rate, given.memory_mb / 1024, given.streams)))
    print(f"\nIdle, a day: {IDLE_REQUESTS:,} storage requests; Durable Functions {DURABLE_IDLE_REQUESTS:,}.")


if __name__ == "__main__":
    main()
