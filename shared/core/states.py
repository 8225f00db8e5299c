"""The states of a response. Everything that changes a status goes through this table.

    queued -> in_progress -> completed | failed | incomplete | cancelled

An unfinished response may skip ahead; a terminal one has no way out.
"""

from enum import StrEnum


class Status(StrEnum):
    """OpenAI's words for where a response is."""

    QUEUED = "queued"  # accepted; the upstream may not have begun
    IN_PROGRESS = "in_progress"  # the upstream works on it
    COMPLETED = "completed"  # there is an answer
    FAILED = "failed"  # there will be none; `error` says why
    INCOMPLETE = "incomplete"  # there is a part of one; `incomplete_details` says why
    CANCELLED = "cancelled"  # the caller did not want it any more

    @property
    def is_terminal(self) -> bool:
        """Say whether this status is final."""
        return not TRANSITIONS[self]


_TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.INCOMPLETE, Status.CANCELLED})

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.QUEUED, Status.IN_PROGRESS}) | _TERMINAL,
    Status.IN_PROGRESS: frozenset({Status.IN_PROGRESS}) | _TERMINAL,
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.INCOMPLETE: frozenset(),
    Status.CANCELLED: frozenset(),
}


class IllegalTransition(Exception):
    """A status was to follow another that does not allow it."""

    def __init__(self, before: Status, after: Status) -> None:
        super().__init__(f"{after} cannot follow {before}")


def follow(before: Status, after: Status) -> Status:
    """Return `after` if it may follow `before`; raise IllegalTransition if not."""
    if after not in TRANSITIONS[before]:
        raise IllegalTransition(before, after)
    return after


def advance(before: Status, after: Status) -> Status:
    """Return the unfinished status that follows another; raise IllegalTransition also if it is terminal."""
    if after.is_terminal:
        raise IllegalTransition(before, after)
    return follow(before, after)


def finish(before: Status, after: Status) -> Status:
    """Return the terminal status that follows another; raise IllegalTransition also if it is not terminal."""
    if not after.is_terminal:
        raise IllegalTransition(before, after)
    return follow(before, after)


def later(before: Status, after: Status) -> Status:
    """Return the further of two unfinished statuses: an upstream's `queued` never takes back `in_progress`."""
    return before if before is Status.IN_PROGRESS and after is Status.QUEUED else after


def terminal_count(status: Status) -> int:
    """Return how many events end a stream with that status."""
    return 2 if status is Status.FAILED else 1


def event_type(status: Status) -> str:
    """Return the type of the event that tells of a terminal status."""
    return f"response.{status}"
