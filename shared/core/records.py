"""The record: the row that is the truth about a response.

The record is an optimistic lock. Every transaction about one response, except a pure move of an alarm, updates its
record with If-Match and a new `write_id`. A writer that has read an older record gets a Conflict, and must read and
decide again.

An attribute is stored under the name that `column` gives it, or else under its own name. The names in the table are
older than those in the code, and renaming a column would be a migration.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from shared.core.states import DeliveryState, RunState, Status, WaitReason

INLINE_BODY = 60_000  # bytes. A larger packed object has separate rows, because a property holds at most 64 KiB.


def column(name: str) -> Mapping[str, str]:
    """Return the metadata of a dataclass field that is stored under `name`."""
    return {"column": name}


class Target(StrEnum):
    """Where a terminal event is sent. The values are part of row keys."""

    CALLBACK = "c"
    REPLY_QUEUE = "q"

    @property
    def label(self) -> str:
        """The name of the target for callers and operators."""
        return "callback" if self is Target.CALLBACK else "reply_queue"


class ExecutionMode(StrEnum):
    """How the service learns that the upstream's work has ended."""

    POLL = "poll"  # alarms ask the upstream
    RUN = "run"  # a process reads the upstream's stream


@dataclass(frozen=True, slots=True)
class Delivery:
    """The delivery of the terminal event to one target.

    A redelivery begins a new *schedule*. Attempts are numbered from 1 in each schedule. `attempt` is the last one that
    an end has claimed or that was noted. A sweep that takes the alarm claims an attempt without writing it here.
    """

    target: Target
    state: DeliveryState = DeliveryState.PENDING
    attempt: int = 0  # counted over all schedules
    attempts_before: int = field(default=0, metadata=column("before"))  # attempts in earlier schedules
    # The row key of its alarm as of the last attempt that was claimed or noted here. Sweeps move the alarm.
    alarm_key: str = field(default="", metadata=column("alarm"))
    sending: bool = False  # the first attempt of the schedule was claimed with the alarm above, and is not noted yet
    address_refused: bool = field(default=False, metadata=column("refused"))  # the last attempt met a refused address
    failure_key: str = field(default="", metadata=column("failed"))  # the key of the index row for recoveries
    schedule: int = 1
    host: str = ""  # where it goes, as in `Alarm.host`
    listed: bool = field(default=False, metadata=column("open"))  # a row for the lists says that it is still tried
    unknown: Mapping[str, Any] = field(default_factory=dict, repr=False)  # members that only a newer version knows

    @property
    def is_open(self) -> bool:
        """Whether another attempt may follow."""
        return self.state is DeliveryState.PENDING

    @property
    def is_in_trouble(self) -> bool:
        """Whether its last attempt has failed, and another may follow."""
        return self.is_open and not self.sending and self.number > 0

    @property
    def number(self) -> int:
        """The number of the last attempt in its schedule, or 0."""
        return self.attempt - self.attempts_before


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """What the caller asked for."""

    background: bool = False
    store: bool = False
    stream: bool = False
    model: str | None = None
    metadata: dict[str, str] | None = None
    previous_id: str | None = field(default=None, metadata=column("previous"))  # our id of the previous response
    callback_url: str | None = field(default=None, repr=False)
    reply_to: str | None = None
    callback_events: tuple[str, ...] = ()  # the event types that the callback gets, or empty for all
    include: tuple[str, ...] = ()  # what the upstream adds to its answers only on request
    has_credentials: bool = False  # the request row has some, which no answer may repeat
    masked: bool = False  # what is stored for callers has no credentials. Older versions masked none
    correlation_id: str | None = None  # the sender's id of a queued request, repeated on its events
    subjects: dict[str, str] | None = None  # what is kept of the ids of a person, by field: subject tags
    subjects_known: bool = False  # the request was looked through for them. Older versions did not

    def targets(self, event: str) -> tuple[Target, ...]:
        """Return the targets that a terminal event of this type, such as `response.completed`, is sent to."""
        wanted = not self.callback_events or event in self.callback_events
        addresses = {Target.CALLBACK: self.callback_url if wanted else None, Target.REPLY_QUEUE: self.reply_to}
        return tuple(target for target, address in addresses.items() if address)

    def address(self, target: Target) -> str:
        """Return the URL or the queue name of a target, or an empty string."""
        return (self.callback_url if target is Target.CALLBACK else self.reply_to) or ""


@dataclass(frozen=True, slots=True)
class UpstreamInfo:
    """What is known about the work upstream."""

    name: str = field(default="", metadata=column("upstream_name"))  # its name in the settings, or empty
    model: str = field(default="", metadata=column("upstream_model"))  # its own name of the model, if it has one
    bound: bool = field(default=False, metadata=column("upstream_bound"))  # a failed try may have begun work there
    token: str | None = None  # the upstream's continuation token, as last known
    id: str | None = field(default=None, metadata=column("upstream_id"))  # the upstream's id of the response
    starts: int = 0  # how often the upstream has accepted the work
    presumed: bool = False  # the first of them was counted before it was made
    end_announced: bool = field(default=False, metadata=column("woken"))  # by a webhook, before the token was known
    checkpoints: int = field(default=0, metadata=column("memos"))  # how many the run has saved
    # One of the checkpoints names work that goes on. A new holder of the run resumes it instead of starting again.
    has_checkpoint: bool = field(default=False, metadata=column("goes_on"))
    counted: int = 0  # tries of a run that may have begun work without a name, the one under way included
    refusal: int = 0  # the status of the refusal that ended a response whose id no caller knows

    @property
    def has_begun(self) -> bool:
        """Whether the upstream has accepted the work at least once."""
        return self.starts > self.presumed or self.token is not None or self.has_checkpoint


@dataclass(frozen=True, slots=True)
class RunInfo:
    """The run that drives the response, if one does."""

    mode: ExecutionMode = ExecutionMode.POLL
    epoch: int = 1  # the fencing token: a process with an older one has lost the run
    claimed: bool = False  # the run of this epoch has a holder
    alarm_key: str = field(default="", metadata=column("run"))  # as of the last offer or claim, since renewals move it
    expirations: int = field(default=0, metadata=column("lapses"))  # of the lease, in a row without progress

    @property
    def state(self) -> RunState:
        """The state of the run."""
        if self.mode is ExecutionMode.POLL:
            return RunState.POLLED
        return RunState.HELD if self.claimed else RunState.OFFERED


@dataclass(frozen=True, slots=True)
class LogInfo:
    """The positions in the event log."""

    next_seq: int = 0  # the sequence number of the next event
    # The high-water mark is above every number that any client may have seen, so a new holder continues from there.
    high_water_mark: int = field(default=0, metadata=column("reserved"))
    # The replay point is the number of the event that voided all earlier ones, or 0.
    valid_from: int = field(default=0, metadata=column("restarted"))
    upstream_next: int = 0  # the upstream's number after the last event that is stored
    size: int = field(default=0, metadata=column("log_bytes"))  # of the text of all events, also of voided ones


@dataclass(frozen=True, slots=True)
class WaitInfo:
    """What an unfinished response waits for, if that is something other than its work."""

    reason: str = field(default="", metadata=column("waits_for"))  # a WaitReason, or one of a newer version, or empty
    detail: str = field(default="", metadata=column("waits_detail"))  # what was seen, such as "status 503"
    tries: int = field(default=0, metadata=column("waits_tries"))  # that have failed for this reason, in a row
    since_ms: int = field(default=0, metadata=column("waits_since"))
    next_ms: int = field(default=0, metadata=column("waits_until"))  # when the next try is due
    place: int = field(default=0, metadata=column("waits_place"))  # in the line of its caller, at most, or 0
    gate: str = field(default="", metadata=column("waits_gate"))  # in whose line it waits, or empty
    number: int = field(default=0, metadata=column("waits_number"))  # of its entry into the line, or 0

    def after(self, reason: WaitReason | None, detail: str, now_ms: int, next_ms: int = 0) -> "WaitInfo":
        """Return what the response waits for after another failed try. Without a reason, it waits for its work."""
        if reason is None:
            return WaitInfo()
        if reason != self.reason:
            return WaitInfo(reason, detail, 1, now_ms, next_ms)
        return WaitInfo(reason, detail, self.tries + 1, self.since_ms, next_ms)


@dataclass(frozen=True, slots=True)
class Usage:
    """The tokens that a response has used, as far as its upstream has said."""

    input_tokens: int = 0
    cached_tokens: int = 0  # of the input
    output_tokens: int = 0
    reasoning_tokens: int = 0  # of the output


@dataclass(frozen=True, slots=True)
class Record:
    """The state of a response without its large parts. Times are unix milliseconds. 0 means not yet."""

    id: str
    caller: str
    created_ms: int
    deadline_ms: int
    status: Status = Status.QUEUED
    # A caller knows the id although the start is not confirmed, so the rows must not be removed.
    acknowledged: bool = field(default=False, metadata=column("promised"))
    deleted: bool = False  # a tombstone: callers get a 404 until the purge has removed the rows
    ended_ms: int = 0
    error: str = ""  # the code of the error that it failed with
    listed: str = ""  # the range of rows that has its entry for the lists: a Listing, or empty
    purge_key: str = field(default="", metadata=column("purge"))  # the row key of its purge alarm
    trace: str = ""  # the W3C traceparent of the response's span
    trace_parent: str = ""  # the id of that span's parent, or empty if nothing is recorded
    body_rows: int = 0  # the number of rows of the response object, or 0 if it is in the record
    session_rows: int = field(default=0, metadata=column("legacy_rows"))  # of an agent's session
    expired: bool = False  # the tombstone is of its purge, and not of its caller
    deliveries: tuple[Delivery, ...] = ()
    request: RequestInfo = field(default_factory=RequestInfo)
    upstream: UpstreamInfo = field(default_factory=UpstreamInfo)
    run: RunInfo = field(default_factory=RunInfo)
    log: LogInfo = field(default_factory=LogInfo)
    wait: WaitInfo = field(default_factory=WaitInfo)
    usage: Usage = field(default_factory=Usage)
    unknown: Mapping[str, Any] = field(default_factory=dict, repr=False)  # members that only a newer version knows
    # The packed response object as last known. Before one is known, the fields that it repeats from the request.
    body: bytes = field(default=b"", repr=False)
    write_id: str = ""
    etag: str = ""

    def delivery(self, target: str) -> Delivery | None:
        """Return the delivery to a target, or None."""
        return next((delivery for delivery in self.deliveries if delivery.target == target), None)

    def with_upstream_id(self, upstream_id: str | None) -> "Record":
        """Return the record with this id of the upstream: itself if it has it, because a copy is dear."""
        if self.upstream.id == upstream_id:
            return self
        return replace(self, upstream=replace(self.upstream, id=upstream_id))

    def with_delivery(self, changed: Delivery) -> "Record":
        """Return the record with the delivery to the same target replaced."""
        return replace(
            self,
            deliveries=tuple(changed if one.target == changed.target else one for one in self.deliveries),
        )
