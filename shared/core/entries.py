"""The entry of a response in the lists: what they show of it, so that they read no record."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar

from shared.core import keys
from shared.core.records import Delivery, Record, Usage, WaitInfo
from shared.core.states import Status


class Listing(StrEnum):
    """The ranges of rows that lists read. The values are the first part of row keys."""

    LIVE = "live"  # responses that have not ended
    ENDED = "list"
    TRIED = "open"  # deliveries whose last attempt has failed, and that are still tried
    FAILED = "failed"  # deliveries that were given up


@dataclass(frozen=True, slots=True)
class Entry:
    """A response in the lists. Times are unix milliseconds. 0 means not yet."""

    id: str
    created_ms: int
    caller: str
    status: Status
    background: bool = False
    stream: bool = False
    store: bool = False
    model: str | None = None
    previous_id: str | None = None
    metadata: dict[str, str] | None = None
    ended_ms: int = 0
    deadline_ms: int = 0
    hidden: bool = False  # deleted by its caller
    error: str = ""  # the code of the error that it failed with
    subjects: dict[str, str] | None = None  # as in RequestInfo
    subjects_known: bool = False
    usage: Usage = field(default_factory=Usage)
    wait: WaitInfo = field(default_factory=WaitInfo)

    @property
    def name(self) -> str:
        """What it is known by in a list: it may be in two ranges for a moment."""
        return self.id

    @property
    def place(self) -> str:
        """Its place in a list, newest first: the end of its row key."""
        return keys.entry_place(self.created_ms, self.id)


@dataclass(frozen=True, slots=True)
class DeliveryEntry:
    """A delivery in the lists: one that is in trouble since `at_ms`, in unix milliseconds."""

    id: str  # of the response
    target: str  # as in Target, or one of a newer version
    at_ms: int
    caller: str = ""
    state: str = ""  # as in DeliveryState, or one of a newer version. Rows of older versions have none
    host: str = ""  # where it goes, as in `Alarm.host`, or empty if it goes nowhere or that is not known

    hidden: ClassVar[bool] = False

    @property
    def name(self) -> str:
        """What it is known by in a list: it may be in two ranges for a moment."""
        return f"{self.id}|{self.target}"

    @property
    def place(self) -> str:
        """Its place in a list, oldest first: the end of its row key."""
        return f"{self.at_ms:013d}|{self.name}"


def delivery_entry(record: Record, delivery: Delivery, at_ms: int) -> DeliveryEntry:
    """Return the entry of a delivery that is in trouble since `at_ms`, in unix milliseconds."""
    return DeliveryEntry(
        record.id, str(delivery.target), at_ms, record.caller, state=str(delivery.state), host=delivery.host
    )


def entry_of(record: Record) -> Entry:
    """Return the entry of a record as it is."""
    request = record.request
    return Entry(
        record.id,
        record.created_ms,
        record.caller,
        record.status,
        background=request.background,
        stream=request.stream,
        store=request.store,
        model=request.model,
        previous_id=request.previous_id,
        metadata=request.metadata,
        ended_ms=record.ended_ms,
        deadline_ms=record.deadline_ms,
        hidden=record.deleted,
        error=record.error,
        subjects=request.subjects,
        subjects_known=request.subjects_known,
        usage=record.usage,
        wait=record.wait,
    )
