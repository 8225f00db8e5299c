"""The runs and readers of this process, and how often they act, given how many they are."""

from typing import Protocol

from shared.core.alarms import Alarm
from shared.runtime.broadcast import Broadcast
from shared.runtime.config import Pace

RECENTLY_S = 1.0
MAX_IN_PLACE = 100
MAX_IN_PLACE_BYTES = 64 * 1_048_576  # of their requests


class HeldLease(Protocol):
    """The lease of a run that this process holds."""

    alarm: Alarm
    duration_ms: int
    is_moving: bool

    def is_used(self, now_ms: int, part: float) -> bool:
        """Return whether this part of its duration is over, and nobody is renewing it."""

    def note_renewal(self, moved: Alarm | None) -> None:
        """Note the alarm that has been moved, or that it was not there."""

    def doubt(self, following: Alarm) -> None:
        """Note where a move of unknown outcome may have put the alarm."""


class LocalRuns:
    """What the runs of this process and the readers of event logs in it share."""

    def __init__(self) -> None:
        self._broadcasts: dict[str, Broadcast] = {}
        self._tails: set[Broadcast] = set()
        self._logged: dict[str, float] = {}
        self._in_place: dict[str, int] = {}
        self.leases: dict[HeldLease, None] = {}  # of the runs that this process holds, in the order of their begins

    # Broadcasts

    def broadcast_of(self, response_id: str) -> Broadcast | None:
        """Return the broadcast of a response, or None if nothing in this process follows it."""
        return self._broadcasts.get(response_id)

    def add(self, broadcast: Broadcast, *, is_tail: bool = False) -> None:
        """Let readers join a broadcast, whose source is a run in this process or a tail. It replaces any other one."""
        if before := self.broadcast_of(broadcast.response_id):
            before.close()
            self._tails.discard(before)
        self._broadcasts[broadcast.response_id] = broadcast
        if is_tail:
            self._tails.add(broadcast)

    def remove(self, broadcast: Broadcast, *, is_gone: bool = False) -> None:
        """Close a broadcast. `is_gone` is as in `Broadcast.close`."""
        broadcast.close(is_gone=is_gone)
        self._tails.discard(broadcast)
        if self.broadcast_of(broadcast.response_id) is broadcast:
            del self._broadcasts[broadcast.response_id]

    # Runs in place

    def admit(self, response_id: str, size: int) -> bool:
        """Count a run in place with a request of `size` bytes, and return whether there is room for it."""
        has_room = len(self._in_place) < MAX_IN_PLACE and sum(self._in_place.values()) + size <= MAX_IN_PLACE_BYTES
        if has_room and response_id not in self._in_place:
            self._in_place[response_id] = size
            return True
        return False

    def leave(self, response_id: str) -> None:
        """Count a run in place no longer."""
        self._in_place.pop(response_id, None)

    # Pace. Each interval grows with the number of those that share this process.

    def note_flush(self, response_id: str, now_s: float) -> None:
        """Note that a run has stored events at a time of the monotonic clock."""
        self._logged.pop(response_id, None)
        self._logged[response_id] = now_s
        while now_s - self._logged[first := next(iter(self._logged))] > RECENTLY_S:
            del self._logged[first]

    def flush_wait_s(self, pace: Pace) -> float:
        """Return how long events wait until they are stored, in seconds."""
        return max(pace.flush_s, min(len(self._logged) * pace.share_s, pace.flush_max_s))

    def tail_wait_s(self, pace: Pace, silent_s: float) -> float:
        """Return how long a tail waits for its next look, in seconds, when its last event is `silent_s` seconds old."""
        share_s = len(self._tails) * pace.share_s
        if silent_s < pace.tail_idle_s:
            return max(pace.tail_s, min(share_s, pace.flush_max_s))
        return max(min(max(pace.tail_idle_s, silent_s / 4), pace.tail_max_s), share_s)

    def watch_wait_s(self, pace: Pace) -> float:
        """Return how old the record of a run may become before its holder reads it again, in seconds."""
        return max(pace.watch_s, len(self.leases) * pace.share_s)
