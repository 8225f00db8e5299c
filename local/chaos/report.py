"""What a run prints: its faults, checks and counts, and how to repeat it."""

from collections import Counter
from collections.abc import Iterable, Mapping

from local.chaos.plan import Plan
from local.chaos.run import Report


def heading(plan: Plan) -> str:
    """Return the line that a run begins and ends with."""
    return f"chaos SEED={plan.seed} MINUTES={plan.seconds / 60:g}"


def lines(report: Report) -> Iterable[str]:
    """Yield the lines about a run that has ended."""
    plan, ledger = report.plan, report.ledger
    yield f"\n{len(plan.calls)} calls, {report.responses} responses, {report.rows} rows, clocks {plan.skews_s} s"
    yield from _table("calls by style", Counter(call.style for call in plan.calls))
    yield from _table("faults", report.faults)
    yield from _table("answers to callers", ledger.answers)
    yield from _table("checks", ledger.checks)
    yield from _table("repeats, which are allowed", report.repeats)
    late = ledger.broken["everything is done in time"] + ledger.broken["nothing is overdue"]
    yield f"lost {_lost(ledger.broken)}, twice {ledger.broken['work is begun once']}, late {late}"
    yield f"violations: {sum(ledger.broken.values())} of {sum(ledger.checks.values()):,} checks"
    yield f"seconds: {', '.join(f'{name} {value:g}' for name, value in report.seconds.items())}"
    for one in ledger.violations:
        yield f"VIOLATED {one}"
    yield heading(plan)
    if not report.holds:
        yield f"to repeat: make chaos SEED={plan.seed} MINUTES={plan.seconds / 60:g}"


def _lost(broken: Mapping[str, int]) -> int:
    names = (
        *("every accepted response ends", "an accepted response is found", "every accepted response is listed"),
        *("every end is called back", "every queued request has one answer"),
    )
    return sum(broken.get(name, 0) for name in names)


def _table(title: str, counts: Mapping[str, int]) -> Iterable[str]:
    yield f"\n{title}"
    for name, count in sorted(counts.items(), key=lambda one: str(one[0])):
        yield f"  {count:>7,}  {name}"
