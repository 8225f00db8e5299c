"""What the deployment decides."""

from dataclasses import dataclass, field

from shared.core.backoff import POLL_MIN_MS

TOLD_POLL_MS = 60_000


@dataclass(frozen=True, slots=True)
class Limits:
    """What the deployment decides. Milliseconds."""

    deadline_ms: int = 4 * 3_600_000  # when an unfinished response is given up
    retention_ms: int = 30 * 86_400_000  # how long a stored one is kept after its end
    honours_keys: bool = False  # whether the upstream starts once per Idempotency-Key
    is_told: bool = False  # whether the upstream tells of its ends by webhooks: then polls are only the safety net
    start_wait_s: float = 20.0  # how long a repeated request waits for its first

    @property
    def poll_min_ms(self) -> int:
        """The least wait between two polls of a response."""
        return TOLD_POLL_MS if self.is_told else POLL_MIN_MS


@dataclass(frozen=True, slots=True)
class Rules:
    """Where events may be sent, as the deployment decides."""

    reply_queues: tuple[str, ...] = ()  # patterns of the queue names that callers may give
    own_hosts: frozenset[str] = frozenset()  # never called back
    requests_caller: str = ""  # on whose behalf queued requests are made
    upstream_secrets: tuple[str, ...] = field(default=(), repr=False)  # that sign the upstream's webhooks
    allow_loopback: bool = False  # for local use only


@dataclass(frozen=True, slots=True)
class Pace:
    """How often things are done while a stream flows. Seconds."""

    flush_s: float = 0.55  # the event log is written at most so often: with renewals below 2 writes a second
    renew_s: float = 10.0  # a lease is renewed so often
    watch_s: float = 1.0  # a holder looks at its record so often, unless it has just written it
    tail_s: float = 0.15  # a reader looks for new events so often, up to `tail_max_s` where there are none for long
    tail_max_s: float = 1.0
    nudge_s: float = 5.0  # a reader who has waited so long asks for a look at the shard: the holder may be dead
    heartbeat_s: float = 15.0  # a stream is not silent for longer
    stream_s: float = 1200.0  # one answer streams at most so long; the client resumes
    hold_s: float = 1200.0  # a run whose upstream replays is held at most so long at a time
    patience_s: float = 60.0  # how long a holder tries to reach the upstream before it gives the run up for a while
