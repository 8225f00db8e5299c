"""What instances that are always ready cost a month: `python -m local.bench.always_ready` prints it.

The prices are in US dollars, without taxes and discounts, for East US 2. A public repository noted them on 2026-10-05
from Azure's price list, https://prices.azure.com/api/retail/prices with `$filter=serviceName eq 'Functions'`. The
meters are Always Ready Baseline, Always Ready Execution Time, and On Demand Execution Time. What they count is on
https://learn.microsoft.com/azure/azure-functions/functions-consumption-costs
"""

import argparse
from dataclasses import dataclass

MONTH_S = 730 * 3_600  # as Azure's calculator has it
MEMORIES_GB = (2, 4)  # what INSTANCE_MEMORY_MB may be
# HTTP, and each function of a queue or a timer. Over zones the platform keeps two instances of each by itself:
# https://learn.microsoft.com/azure/reliability/reliability-functions
GROUPS = ("http", "sweep", "deliver", "run", "take_request", "tend_poison", "heartbeat")
IN_ZONES = 2


@dataclass(frozen=True)
class Prices:
    """The prices of a GB-s: of an instance that is there, of one that also works, and of one on demand."""

    baseline: float = 0.000004
    busy: float = 0.000016
    on_demand: float = 0.000026


def idle(memory_gb: float, prices: Prices) -> float:
    """Return what one instance costs a month without any work."""
    return memory_gb * MONTH_S * prices.baseline


def busy(memory_gb: float, prices: Prices) -> float:
    """Return what one instance costs that works all month."""
    return idle(memory_gb, prices) + memory_gb * MONTH_S * prices.busy


def on_demand(memory_gb: float, prices: Prices) -> float:
    """Return what the same work costs on instances that come and go, without the free grant."""
    return memory_gb * MONTH_S * prices.on_demand


def break_even(prices: Prices) -> float:
    """Return the share of the time from which on an instance costs less if it is always ready, or infinity."""
    saved = prices.on_demand - prices.busy
    return prices.baseline / saved if saved > 0 else float("inf")


def table(prices: Prices) -> str:
    """Return a Markdown table of what one instance costs a month, by its memory, and all that zones bring."""
    lines = [
        "| memory | idle | works all month | the same work on demand | idle, over zones |",
        "|---|---|---|---|---|",
    ]
    for memory_gb in MEMORIES_GB:
        own = idle(memory_gb, prices)
        costs = (own, busy(memory_gb, prices), on_demand(memory_gb, prices), own * IN_ZONES * len(GROUPS))
        lines.append(f"| {memory_gb} GB | {' | '.join(f'${one:,.2f}' for one in costs)} |")
    return "\n".join(lines)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m local.bench.always_ready", description="Dollars a month.")
    default = Prices()
    for name, means in (("baseline", "is there"), ("busy", "works, in addition"), ("on-demand", "comes and goes")):
        value = getattr(default, name.replace("-", "_"))
        parser.add_argument(f"--{name}", type=float, default=value, help=f"price of a GB-s that {means} ({value:f})")
    prices = Prices(**vars(parser.parse_args()))
    print(table(prices))
    print(f"\nAlways ready costs less for what works more than {break_even(prices):.0%} of the time.")


if __name__ == "__main__":
    main()
