"""The durations of the platform that a test need not wait for in full. All of them have one common factor."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Durations:
    """Durations of the real host in seconds, multiplied by `factor`. They were observed on host 4.1037.0.

    The factor is 1 wherever people look at the host, and in every test with an outage or a kill.
    """

    factor: float = 1.0

    @property
    def timer_lock_s(self) -> float:
        """How long the lock of a timer lives after its holder was killed, and how often the other hosts ask for it."""
        return 60 * self.factor

    @property
    def storage_gone_s(self) -> float:
        """How long queue storage may be gone, or may refuse an operation, before the host ends itself."""
        return 24 * self.factor

    @property
    def in_flight_s(self) -> float:
        """How long HTTP calls in flight may go on after SIGTERM, before they are reset."""
        return 30 * self.factor

    @property
    def hard_end_s(self) -> float:
        """How long after that reset the process is ended, whatever still runs in it."""
        return 10 * self.factor

    @property
    def message_hidden_s(self) -> float:
        """How long a message stays hidden while its function runs. It is renewed after half of that."""
        return 600 * self.factor
