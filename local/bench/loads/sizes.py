"""How much is done in the runs. Pure."""

import math
from dataclasses import dataclass, fields, replace

LEAST = 8


@dataclass(frozen=True, slots=True)
class Sizes:
    """Counts, and lengths in seconds. `aged_s` is how old the youngest response in flight is before it is watched."""

    responses: int = 500
    counted: int = 200
    killed: int = 250
    refused: int = 100
    resumed: int = 12
    in_flight: int = 2500
    newcomers: int = 150
    ends: int = 240
    delivered: int = 1000
    beside: int = 600
    flood: int = 1000
    quiet: int = 100
    dead: int = 100
    calls: int = 20
    streams: int = 10
    crowd: int = 300
    readers: int = 200
    stream_s: float = 10
    kill_after_s: float = 5
    resumed_s: float = 2
    down_s: float = 2
    watched_s: float = 45  # after a kill: what is called back again comes by then, but for builds before watches
    ends_after_s: float = 15
    aged_s: float = 0
    idle_s: float = 20
    long_s: float = 60

    def scaled(self, factor: float) -> "Sizes":
        """Return the sizes with every count multiplied by a factor from 0 to 1, and at least 8 each.

        Lengths of time stay, except the time before a kill, so that the kill is still in the middle of the load.
        """
        counts = {one.name: getattr(self, one.name) for one in fields(self) if one.type is int}
        fewer = {name: min(count, max(LEAST, math.ceil(count * factor))) for name, count in counts.items()}
        return replace(self, **fewer, kill_after_s=self.kill_after_s * fewer["killed"] / self.killed)

    def __str__(self) -> str:
        return ", ".join(f"{one.name} {getattr(self, one.name):g}" for one in fields(self))
