"""The entry of a response in the lists: what they show of it, so that they read no record."""

from dataclasses import dataclass, field
from enum import StrEnum

from shared.core.records import Record, Usage, WaitInfo
from shared.core.states import Status


class Listing(StrEnum):
    """Which range of rows has the entry of a response. The values are the first part of row keys."""

    LIVE = "live"  # it has not ended
    ENDED = "list"


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
    usage: Usage = field(default_factory=Usage)
    wait: WaitInfo = field(default_factory=WaitInfo)


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
        usage=record.usage,
        wait=record.wait,
    )
