"""The states of a response, of a run and of a delivery. Every change of a state goes through these tables.

    response   queued -> in_progress -> completed | failed | incomplete | cancelled
    run        offered -> held -> offered | polled
    delivery   pending -> delivered | failed | gone | blocked -> pending

An unfinished response may skip states. A terminal one never leaves its state. A delivery that is over becomes pending
again only when its caller asks for a redelivery.
"""

from enum import StrEnum
from typing import Any, TypeVar


class Status(StrEnum):
    """The status of a response, in OpenAI's words."""

    QUEUED = "queued"  # accepted, but the upstream may not have started
    IN_PROGRESS = "in_progress"  # the upstream is working on it
    COMPLETED = "completed"  # there is an answer
    FAILED = "failed"  # there is no answer, and `error` says why
    INCOMPLETE = "incomplete"  # there is part of an answer, and `incomplete_details` says why
    CANCELLED = "cancelled"  # the caller cancelled it

    @property
    def is_terminal(self) -> bool:
        """Whether this status is final."""
        return not TRANSITIONS[self]


class RunState(StrEnum):
    """Whether a process drives a response whose upstream is read as a stream."""

    OFFERED = "offered"  # no process drives it, and a message offers it
    HELD = "held"  # one process holds its lease
    POLLED = "polled"  # no process drives it, because alarms poll the upstream


class DeliveryState(StrEnum):
    """The state of the delivery to one target."""

    PENDING = "pending"  # another attempt follows, or is under way
    DELIVERED = "delivered"  # the receiver answered with a 2xx
    FAILED = "failed"  # the schedule is used up, or the receiver rejected the event for good
    GONE = "gone"  # the receiver answered 410
    BLOCKED = "blocked"  # the target must not be called


class WaitReason(StrEnum):
    """Why an unfinished response waits for something other than its work."""

    UPSTREAM_DOWN = "upstream_down"  # the upstream cannot be reached, or answers with errors
    CREDENTIALS = "credentials"  # the upstream rejects the service's credentials, or there are none
    RATE_LIMIT = "rate_limit"  # the upstream asks for fewer requests
    UPSTREAM_REMOVED = "upstream_removed"  # the upstream that took the response is no longer configured
    TURN = "turn"  # its upstream works on as many responses as it may, and it comes later
    STORAGE = "storage"  # what has happened cannot be stored now


_TERMINAL = frozenset({Status.COMPLETED, Status.FAILED, Status.INCOMPLETE, Status.CANCELLED})
_PENDING = frozenset({DeliveryState.PENDING})

TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.QUEUED, Status.IN_PROGRESS}) | _TERMINAL,
    Status.IN_PROGRESS: frozenset({Status.IN_PROGRESS}) | _TERMINAL,
    Status.COMPLETED: frozenset(),
    Status.FAILED: frozenset(),
    Status.INCOMPLETE: frozenset(),
    Status.CANCELLED: frozenset(),
}
RUN_TRANSITIONS: dict[RunState, frozenset[RunState]] = {
    RunState.OFFERED: frozenset({RunState.OFFERED, RunState.HELD}),
    RunState.HELD: frozenset({RunState.OFFERED, RunState.POLLED}),
    RunState.POLLED: frozenset(),
}
DELIVERY_TRANSITIONS: dict[DeliveryState, frozenset[DeliveryState]] = {
    DeliveryState.PENDING: frozenset(DeliveryState),
    DeliveryState.DELIVERED: _PENDING,
    DeliveryState.FAILED: _PENDING,
    DeliveryState.GONE: _PENDING,
    DeliveryState.BLOCKED: _PENDING,
}
_TABLES: dict[type[StrEnum], Any] = {
    Status: TRANSITIONS,
    RunState: RUN_TRANSITIONS,
    DeliveryState: DELIVERY_TRANSITIONS,
}

S = TypeVar("S", Status, RunState, DeliveryState)


class IllegalTransition(Exception):
    """A state cannot follow another one."""

    def __init__(self, before: StrEnum, after: StrEnum) -> None:
        super().__init__(f"{after} cannot follow {before}")


def follow(before: S, after: S) -> S:
    """Return `after`. Raises IllegalTransition if it cannot follow `before`."""
    if after not in _TABLES[type(before)][before]:
        raise IllegalTransition(before, after)
    return after


def advance(before: Status, after: Status) -> Status:
    """Return the unfinished status `after`. Raises IllegalTransition if it is terminal or cannot follow `before`."""
    if after.is_terminal:
        raise IllegalTransition(before, after)
    return follow(before, after)


def finish(before: Status, after: Status) -> Status:
    """Return the terminal status `after`. Raises IllegalTransition if it is unfinished or cannot follow `before`."""
    if not after.is_terminal:
        raise IllegalTransition(before, after)
    return follow(before, after)


def later(before: Status, after: Status) -> Status:
    """Return the later of two unfinished statuses. An upstream's `queued` never replaces `in_progress`."""
    return before if before is Status.IN_PROGRESS and after is Status.QUEUED else after


def terminal_count(status: Status) -> int:
    """Return how many events end a stream with this status.

    A failed or cancelled response ends with two: `error` and `response.failed`.
    """
    return 2 if status in (Status.FAILED, Status.CANCELLED) else 1


def event_type(status: Status) -> str:
    """Return the type of the event about a terminal status, such as `response.completed`."""
    return f"response.{status}"
