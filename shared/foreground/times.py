"""When a foreground call that has not ended gets bytes. Pure."""

from dataclasses import dataclass

from shared.foreground.clients import Client
from shared.runtime.config import Pace

JOINED_BLANK_S = 2.0  # for a client that repeats, and so has shown how long it waits
JOINED_BLANKS_S = 15.0


@dataclass(frozen=True, slots=True)
class Times:
    """In seconds: when the status line goes out, and the pauses between blanks, at first for `early_s` and later."""

    begin_s: float
    early_blank_s: float
    early_s: float
    blank_s: float

    def pause_s(self, since_s: float) -> float:
        """Return the pause after a blank. `since_s` is the time since the status line, in seconds."""
        return self.early_blank_s if since_s < self.early_s else self.blank_s


def times_of(pace: Pace, client: Client, *, joins: bool) -> Times:
    """Return the times of a call.

    A client that bounds the whole body gets nothing for as long as possible, because no byte renews its time-out. The
    repeat of any other gets its first blank at once, and then one every 2 s for 15 s.
    """
    blank_s = min(pace.blank_s, pace.bounded_begin_s)
    if client.bounds_body:
        return Times(client.hold_s or pace.bounded_begin_s, blank_s, 0, blank_s)
    if joins:
        return Times(0, min(JOINED_BLANK_S, blank_s), JOINED_BLANKS_S, blank_s)
    return Times(min(pace.begin_s, pace.bounded_begin_s), blank_s, 0, blank_s)
