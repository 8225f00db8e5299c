"""An erasure: an order to remove responses, and how far it has come. Its row is its receipt."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from shared.core import ids
from shared.core.ids import SHARDS


class Phase(StrEnum):
    """What an erasure looks through in each shard, in this order, in which a response moves on."""

    UNLISTED = "records"  # responses that an older release has accepted, which no list has. They may get into one
    LIVE = "live"  # responses that have not ended. They end
    ENDED = "list"


PHASES = tuple(Phase)
SUBJECTS = ("user", "safety_identifier")
"""The fields of a request that have the id of a person."""


def subject_tag(caller: str, name: str, value: str) -> str:
    """Return what is kept of a person's id: a hash over the caller, the field's name and its value."""
    return ids.tag(f"{caller}|{name}|{value}")


def subjects_of(body: Mapping[str, Any], caller: str) -> dict[str, str]:
    """Return what is kept of the ids of a person in a request, by field."""
    given = {name: body.get(name) for name in SUBJECTS}
    return {name: subject_tag(caller, name, value) for name, value in given.items() if isinstance(value, str) and value}


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which responses of a caller an erasure removes: those for which all of this is true."""

    before_ms: int | None = None  # created earlier. None is the time of the order
    user: str | None = None  # a subject tag
    safety_identifier: str | None = None  # a subject tag

    def has_subjects(self, subjects: Mapping[str, str] | None) -> bool:
        """Return whether these subject tags, by field, are those that are wanted, if any are."""
        asked = {name: tag for name in SUBJECTS if (tag := getattr(self, name))}
        return all((subjects or {}).get(name) == tag for name, tag in asked.items())


@dataclass(frozen=True, slots=True)
class Erasure:
    """An erasure. Times are unix milliseconds. 0 means not yet."""

    id: str  # as of a response, so that it has a shard
    caller: str  # whose responses it removes
    ordered_by: str  # the caller who may read the receipt
    created_ms: int
    wanted: Wanted = field(default_factory=Wanted)
    shard: int = 0  # the number of the shard that it looks through
    phase: Phase = PHASES[0]
    after: str = ""  # where it goes on in its part
    cancelled: int = 0  # how many responses it has cancelled
    deleted: int = 0  # how many it has deleted
    failed: int = 0  # how many it could not read, so that they may be left
    ended_ms: int = 0

    def next_part(self) -> "Erasure":
        """Return the erasure at the beginning of the next part: the next phase, or the next shard."""
        number = PHASES.index(self.phase) + 1
        if number < len(PHASES):
            return replace(self, phase=PHASES[number], after="")
        return replace(self, shard=self.shard + 1, phase=PHASES[0], after="")

    @property
    def is_through(self) -> bool:
        """Whether it has looked through every shard."""
        return self.shard >= len(SHARDS)
