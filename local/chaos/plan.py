"""The plan of a run: which faults happen when, and what is asked for when. A pure function of the seed."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

HOSTS = 3
SKEW_S = 5.0  # the most that two hosts' clocks differ
CALLS_PER_S = 1.5
GATED_SHARE = 0.35
SECONDS_PER_FAULT = 4.0
FIRST_FAULT_S = 4.0
PAIRS = ("caller and host", "host and table", "host and queues", "host and upstream", "host and receiver")


class Kind(StrEnum):
    """A kind of fault."""

    KILL = "host killed"
    PAUSE = "host frozen"
    FREEZE = "storage frozen"
    RESTART = "storage restarted"
    PURGE = "queues purged"
    DOUBLE = "messages doubled and late"
    OUTAGE = "upstream outage"
    STORM = "429 storm"
    ERRORS = "upstream errors"
    RESET = "connections reset"
    UPGRADE = "host upgraded"


class Style(StrEnum):
    """What a caller does with one piece of work."""

    POLLED = "polled"
    STREAMED = "streamed"
    FOREGROUND = "foreground"
    FOREGROUND_STREAM = "foreground stream"
    QUEUED = "by queue"
    CANCELLED = "cancelled"
    DELETED = "deleted"
    REPEATED = "repeated at once"
    CHAINED = "chained"
    CONVERSATION = "in a conversation"
    AGENT = "by an agent"


SHORT_S = (0.5, 6.0)  # how long a fault mostly lasts
LONG_S = {Kind.PAUSE: (31.0, 38.0)}  # how long it lasts at times in a long run, which is more than some lease lasts
LONG_FOR_OTHERS_S = (16.0, 28.0)

WEIGHTS = {
    Style.POLLED: 6,
    Style.STREAMED: 5,
    Style.FOREGROUND: 2,
    Style.FOREGROUND_STREAM: 1,
    Style.QUEUED: 2,
    Style.CANCELLED: 2,
    Style.DELETED: 2,
    Style.REPEATED: 2,
    Style.CHAINED: 1,
    Style.CONVERSATION: 1,
    Style.AGENT: 2,
}
QUICK = ("sim-instant", "sim-1s", "sim-2s", "sim-3s", "sim-fail-1s", "sim-incomplete-1s")
AGENT = "agent:clerk"
GATED = ("gate-1s", "gate-2s", "gate-3s")
LONG = "sim-20s"  # longer than a lease
EARLY = 0.4  # of the run, in which long streams begin
STREAMS = ("sim-2s", "sim-4s", "sim-8s", "gate-3s")
GOOD, SLOW, FAILING, DEAD, NOBODY = "good", "slow", "failing", "dead", ""
RECEIVERS = (GOOD, GOOD, GOOD, SLOW, FAILING, DEAD, NOBODY, NOBODY)


@dataclass(frozen=True)
class Fault:
    """One fault. `at_s` is from the start of the load. `where` selects a host, an upstream or a pair."""

    at_s: float
    kind: Kind
    where: int
    lasts_s: float
    number: int


@dataclass(frozen=True)
class Faults:
    """Which faults a run has: how often one comes, and how long each lasts, in seconds, if it is not random."""

    kinds: Sequence[Kind] = tuple(Kind)
    every_s: float = SECONDS_PER_FAULT
    lasts_s: float | None = None


@dataclass(frozen=True)
class Call:
    """One piece of work. `drops` are the numbers of events after which its reader leaves and comes back."""

    at_s: float
    number: int
    style: Style
    model: str
    receiver: str
    host: int
    drops: tuple[int, ...]
    pause_s: float


@dataclass(frozen=True)
class Plan:
    """What happens in one run. `skews_s` is how wrong the clock of each host is."""

    seed: int
    seconds: float
    calls_per_s: float
    skews_s: tuple[float, ...]
    faults: tuple[Fault, ...]
    calls: tuple[Call, ...]


def make_plan(
    seed: int,
    seconds: float,
    faults: Faults = Faults(),
    *,
    calls_per_s: float = CALLS_PER_S,
    gated: float = GATED_SHARE,
    streams: Sequence[str] = (*STREAMS, LONG),
) -> Plan:
    """Return the plan of a run of this length. Every kind of fault happens before one happens a second time.

    `gated` is the share of the work that is polled at the upstream with a limit. `streams` are the models of streams.
    A long one begins only in the first part of the run.
    """
    rng = random.Random(f"{seed} clocks")
    skews = [0.0, SKEW_S, SKEW_S / 2]
    rng.shuffle(skews)
    calls = _calls(random.Random(f"{seed} calls"), _Mix(seconds, calls_per_s, gated, tuple(streams)))
    return Plan(seed, seconds, calls_per_s, tuple(skews), _faults(seed, seconds, faults), calls)


def _faults(seed: int, seconds: float, asked: Faults) -> tuple[Fault, ...]:
    """Return the faults: one at a random moment of each interval, in rounds that each have every kind once."""
    rng, faults, round_of = random.Random(f"{seed} faults"), list[Fault](), list[Kind]()
    time_s = seconds * 0.9 - FIRST_FAULT_S
    every_s = min(asked.every_s, time_s / max(1, len(asked.kinds)))
    for number in range(int(time_s / every_s + 1e-6) if asked.kinds else 0):
        round_of = round_of or rng.sample(asked.kinds, len(asked.kinds))
        at_s = round(FIRST_FAULT_S + (number + rng.random()) * every_s, 2)
        kind = round_of.pop()
        lasts_s = asked.lasts_s or _lasting(rng, kind, seconds)
        faults.append(Fault(at_s, kind, rng.randrange(60), lasts_s, number))
    return tuple(faults)


def _lasting(rng: random.Random, kind: Kind, seconds: float) -> float:
    """Return how long a fault lasts: mostly some seconds, and in a long run at times more than the leases last.

    That is rare, except for a host: while it stands still, the others go on.
    """
    is_long = seconds > 120 and rng.random() < (0.5 if kind in LONG_S else 0.08)
    return round(rng.uniform(*LONG_S.get(kind, LONG_FOR_OTHERS_S) if is_long else SHORT_S), 2)


@dataclass(frozen=True)
class _Mix:
    """What calls are made, how many, and for how long."""

    seconds: float
    calls_per_s: float
    gated: float
    streams: tuple[str, ...]

    def streams_at(self, at_s: float) -> tuple[str, ...]:
        """Return the models of streams that begin at this time."""
        short = tuple(model for model in self.streams if model != LONG)
        return self.streams if at_s < self.seconds * EARLY else short


def _calls(rng: random.Random, mix: _Mix) -> tuple[Call, ...]:
    calls, at_s = list[Call](), 0.0
    while at_s < mix.seconds:
        calls.append(_call(rng, round(at_s, 2), len(calls), mix))
        at_s += rng.expovariate(mix.calls_per_s)
    return tuple(calls)


def _call(rng: random.Random, at_s: float, number: int, mix: _Mix) -> Call:
    style = rng.choices(list(WEIGHTS), weights=list(WEIGHTS.values()))[0]
    drops = tuple(sorted(rng.sample(range(1, 40), rng.randrange(4))))
    receiver = NOBODY if style is Style.DELETED else rng.choice(RECEIVERS)
    model = _model(rng, style, mix, at_s)
    return Call(at_s, number, style, model, receiver, rng.randrange(HOSTS), drops, rng.uniform(0.2, 2.5))


def _model(rng: random.Random, style: Style, mix: _Mix, at_s: float) -> str:
    if style in (Style.STREAMED, Style.FOREGROUND_STREAM):
        return rng.choice(mix.streams_at(at_s))
    if style is Style.AGENT:
        return AGENT
    if style in (Style.CHAINED, Style.CONVERSATION, Style.DELETED):
        return rng.choice(("sim-instant", "sim-1s"))
    if style is Style.CANCELLED:
        return rng.choice(("sim-1s", "sim-2s", "sim-30s", "gate-3s"))
    return rng.choice(GATED if rng.random() < mix.gated else QUICK)
