"""The configuration of the flows: what the deployment decides, and how often things are done."""

from dataclasses import dataclass, field

from shared.core.backoff import POLL_MIN_MS

ANNOUNCED_POLL_MS = 60_000  # between polls of an upstream that announces its ends


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a response."""

    deadline_ms: int = 4 * 3_600_000  # when an unfinished response is given up
    retention_ms: int = 30 * 86_400_000  # how long a stored response is kept after its end
    honours_keys: bool = False  # whether the upstream starts once per Idempotency-Key
    upstream_webhooks_enabled: bool = False  # whether the upstream announces its ends: then polls are the safety net
    start_wait_s: float = 20.0  # how long a repeated request waits for the first one

    @property
    def poll_min_ms(self) -> int:
        """The minimum wait between two polls of a response."""
        return ANNOUNCED_POLL_MS if self.upstream_webhooks_enabled else POLL_MIN_MS


@dataclass(frozen=True, slots=True)
class Rules:
    """Where events may be sent, and whose webhooks are accepted."""

    reply_queues: tuple[str, ...] = ()  # patterns of the queue names that callers may give
    own_hosts: frozenset[str] = frozenset()  # never called back
    requests_caller: str = ""  # the caller on whose behalf queued requests are made
    upstream_secrets: tuple[str, ...] = field(default=(), repr=False)  # that sign the upstream's webhooks
    allow_loopback: bool = False  # for local use only


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are done while a response is streamed. Seconds."""

    flush_s: float = 0.55  # the event log is written at most this often: with renewals, below 2 writes a second
    renew_s: float = 10.0  # a lease is renewed this often
    watch_s: float = 1.0  # the holder of a run reads its record this often, unless it has just written it
    tail_s: float = 0.15  # a reader looks for new events this often, and less often in a long silence
    tail_max_s: float = 1.0  # the longest time between two looks of a reader
    wake_s: float = 5.0  # a reader that has waited this long asks for a sweep: the holder may have died
    heartbeat_s: float = 15.0  # the longest silence of a stream
    stream_s: float = 1200.0  # the longest time that one answer streams; the client resumes
    hold_s: float = 1200.0  # the longest time that a run is held at a stretch, if its upstream is a background one
    patience_s: float = 60.0  # how long a holder tries to reach the upstream before it releases the run for a while


@dataclass(frozen=True, slots=True)
class Config:
    """The configuration of the flows."""

    limits: Limits = field(default_factory=Limits)
    rules: Rules = field(default_factory=Rules)
    pace: Pace = field(default_factory=Pace)
