"""Computes the figures of a run from its observations. Pure."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

QUEUE = "queueTrigger"


@dataclass(frozen=True, slots=True)
class Submission:
    """One create call, sent and answered on a monotonic clock. Without an id, it was not accepted."""

    sent_s: float
    answered_s: float
    response_id: str | None


@dataclass(frozen=True, slots=True)
class Callback:
    """One callback as the receiver received it, at a unix time. `kind` is the type of its event."""

    response_id: str
    received_s: float
    kind: str = "response.completed"


@dataclass(frozen=True, slots=True)
class Usage:
    """What the processes used from the first submission until everything was quiet."""

    host_cpu_s: float
    azurite_cpu_s: float
    host_peak_bytes: int


@dataclass(frozen=True, slots=True)
class Observed:
    """Everything observed in one run. `completions` has the model's unix time by response id."""

    submissions: Sequence[Submission]
    completions: Mapping[str, float]
    callbacks: Sequence[Callback]
    upstream_calls: int
    started_twice: int
    usage: Usage
    load_average: float
    asked_twice: int = 0
    invocations: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Figures:
    """The figures of one run. Times are in milliseconds. The value None marks a figure with nothing to measure."""

    submitted: int
    accepted: int
    accepted_per_s: float | None
    accept_p50_ms: float | None
    accept_p99_ms: float | None
    callback_p50_ms: float | None
    callback_p99_ms: float | None
    host_cpu_ms: float | None
    azurite_cpu_ms: float | None
    host_peak_mib: float
    upstream_calls: float | None
    started_twice: int
    called_back_twice: int
    lost: int
    load_average: float
    asked_twice: int = 0
    invocations: float | None = None
    messages: float | None = None


def figures(observed: Observed) -> Figures:
    """Return the figures of a run.

    CPU time, upstream calls, invocations and messages are per accepted response. An invocation is a call of a function
    by HTTP or by a queue message, and a message is one that a function was called with. Timers are not counted.
    """
    accepted = [one for one in observed.submissions if one.response_id]
    accept_ms = [(one.answered_s - one.sent_s) * 1000 for one in accepted]
    waits_ms = callback_ms(observed)
    callbacks = Counter(one.response_id for one in observed.callbacks)
    return Figures(
        submitted=len(observed.submissions),
        accepted=len(accepted),
        accepted_per_s=_per_s(accepted),
        accept_p50_ms=percentile(accept_ms, 50),
        accept_p99_ms=percentile(accept_ms, 99),
        callback_p50_ms=percentile(waits_ms, 50),
        callback_p99_ms=percentile(waits_ms, 99),
        host_cpu_ms=_share(observed.usage.host_cpu_s * 1000, len(accepted)),
        azurite_cpu_ms=_share(observed.usage.azurite_cpu_s * 1000, len(accepted)),
        host_peak_mib=observed.usage.host_peak_bytes / 2**20,
        upstream_calls=_share(observed.upstream_calls, len(accepted)),
        started_twice=observed.started_twice,
        called_back_twice=sum(times > 1 for times in callbacks.values()),
        lost=len({one.response_id for one in accepted} - callbacks.keys()),
        load_average=observed.load_average,
        asked_twice=observed.asked_twice,
        invocations=_invoked(observed.invocations, ("httpTrigger", QUEUE), len(accepted)),
        messages=_invoked(observed.invocations, (QUEUE,), len(accepted)),
    )


def percentile(values: Sequence[float], percent: float) -> float | None:
    """Return the smallest value that is at or above at least that percentage of the values, or None without values."""
    if not values:
        return None
    return sorted(values)[max(0, math.ceil(len(values) * percent / 100) - 1)]


def callback_ms(observed: Observed) -> list[float]:
    """Return how long after its completion each response had its first callback, in ms."""
    first = {one.response_id: one.received_s for one in reversed(observed.callbacks)}
    return [
        (received_s - observed.completions[response_id]) * 1000
        for response_id, received_s in first.items()
        if response_id in observed.completions
    ]


def _invoked(invocations: Mapping[str, int], kinds: Sequence[str], accepted: int) -> float | None:
    return _share(sum(invocations.get(kind, 0) for kind in kinds), accepted) if invocations else None


def _per_s(accepted: Sequence[Submission]) -> float | None:
    if not accepted:
        return None
    took_s = max(one.answered_s for one in accepted) - min(one.sent_s for one in accepted)
    return _share(len(accepted), took_s)


def _share(amount: float, among: float) -> float | None:
    return amount / among if among else None
