"""When an invocation starts a heartbeat beside itself.

The platform fires a timer in the one instance that holds its lock, `run_on_startup` included. The lock of an instance
that was killed lives on for up to two minutes. So any invocation starts a heartbeat if this process has had none for a
minute. That includes the first invocation of a process.
"""

from dataclasses import dataclass

MAX_AGE_S = 60.0
RETRY_S = 5.0  # between heartbeats that did not reach storage


@dataclass(frozen=True, slots=True)
class Moment:
    """A time by two clocks: the wall clock in unix milliseconds, and a monotonic clock in seconds."""

    now_ms: int
    elapsed_s: float

    def age_s(self, later: "Moment") -> float:
        """Return the seconds from this moment until `later`, by the clock that shows more.

        The wall clock may be set back or forward, and the monotonic clock may stand still while a machine sleeps. Of a
        clock that was set back, the distance counts: an extra heartbeat is cheap.
        """
        return max(later.elapsed_s - self.elapsed_s, abs(later.now_ms - self.now_ms) / 1000)


class HeartbeatAge:
    """What a process knows about its own heartbeats."""

    def __init__(self) -> None:
        self._reached: Moment | None = None  # when the last heartbeat began that reached storage
        self._tried: Moment | None = None  # when the last heartbeat began
        self._is_running = False

    def is_due(self, at: Moment) -> bool:
        """Return whether an invocation starts a heartbeat now.

        Never while one is running. After one that did not reach storage, the next comes 5 s after its begin.
        """
        if self._is_running or _is_younger(self._reached, at, MAX_AGE_S):
            return False
        return not _is_younger(self._tried, at, RETRY_S)

    def begin(self, at: Moment) -> None:
        """Note that a heartbeat begins. This must be called before anything else can run."""
        self._tried, self._is_running = at, True

    def end(self, *, reached: bool) -> None:
        """Note that the heartbeat has ended, and whether it reached storage."""
        self._is_running = False
        if reached:
            self._reached = self._tried


def _is_younger(moment: Moment | None, at: Moment, age_s: float) -> bool:
    return moment is not None and moment.age_s(at) <= age_s
