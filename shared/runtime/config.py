"""The configuration of the flows: what the deployment decides, and how often the flows act."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from shared.core.prices import Price


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a response."""

    deadline_ms: int = 4 * 3_600_000  # how long after its creation an unfinished response fails
    retention_ms: int = 30 * 86_400_000  # how long after its end a stored response is kept
    max_events: int = 1_000_000  # of the streams of one response, after which it is given up
    max_log: int = 268_435_456  # bytes of text of these events, also of those that were told again after a restart
    watch: bool = True  # whether a process may work between its invocations
    start_wait_s: float = 20.0  # how long a repeat waits for the first request, and a stream for the upstream


@dataclass(frozen=True, slots=True)
class Rules:
    """Where events may be sent, and what belongs to whom."""

    reply_queues: tuple[str, ...] = ()  # patterns of the queue names that callers may use
    own_hosts: frozenset[str] = frozenset()  # never called back
    requests_caller: str = ""  # the caller on whose behalf queued requests are made
    allow_loopback: bool = False  # for local use only
    prices: Mapping[str, Price] = field(default_factory=dict, hash=False)  # of the tokens of a model


@dataclass(frozen=True, slots=True)
class Pace:
    """How often the flows act while a response is streamed, in seconds."""

    share_s: float = 0.01  # intervals grow by this much for each run, or each tail, of a process
    flush_s: float = 0.1  # events wait this long until they are stored, so that a batch gathers
    flush_max_s: float = 1.0  # the longest such wait in a process with many runs
    renew_s: float = 1.0  # this often, a holder looks whether a third of its lease is over
    watch_s: float = 1.0  # the holder of a run reads its record this often, unless it has just written it
    tail_s: float = 0.1  # a tail looks for new events this often
    tail_idle_s: float = 0.5  # it does so this often after as long a silence, and less often in a longer one
    tail_max_s: float = 2.0  # the longest time between two of its looks in a process with few tails
    wake_s: float = 5.0  # a tail that sees no event asks for a sweep this often, because the holder may have crashed
    heartbeat_s: float = 15.0  # the longest silence of a stream
    stream_s: float = 21_000.0  # the longest time that one answer streams or waits, after which the client resumes
    begin_s: float = 15.0  # the longest wait of a foreground call, before its answer begins
    bounded_begin_s: float = 85.0  # the same for a client whose time-out covers the whole body
    blank_s: float = 15.0  # between two blanks of an answer that has begun before the end
    hold_s: float = 1200.0  # the longest time that one process holds a run whose upstream is a background one
    renewal_s: float = 2.0  # this often a process looks which of its leases fire soon
    learn_s: float = 20.0  # how long a stream is read for the id of work that is to be stopped
    patience_s: float = 60.0  # how long a holder tries to reach the upstream before it releases the run for a while


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of the flows."""

    limits: Limits = field(default_factory=Limits)
    rules: Rules = field(default_factory=Rules)
    pace: Pace = field(default_factory=Pace)
