"""The record: the row that is the truth about a response, and what may be written beside it.

The record is the fence. Every transaction about one response, except a pure move of an alarm, updates its record with
If-Match and a fresh `write_id`; whoever has read an older record loses and decides again.
"""

import re
from dataclasses import asdict, dataclass, field, fields, replace

import orjson

from shared.core.states import Status

INLINE_BODY = 60_000  # a larger packed object does not go into the record's row: a property holds 64 KiB
CALLBACK = "c"
REPLY_QUEUE = "q"
TARGETS = {CALLBACK: "callback", REPLY_QUEUE: "reply_queue"}  # as callers and operators know them
FAILURES = "failed|"
_FAILURE = re.compile(r"failed\|[0-9a-f]{16}\|[0-9]{13}\|(resp_[0-9a-f]{32})\|([0-9a-z]+)")


@dataclass(frozen=True, slots=True)
class Delivery:
    """How far the delivery to one target is."""

    target: str
    state: str = "pending"  # pending | delivered | failed | gone | blocked
    attempt: int = 0  # attempts claimed, over all schedules
    before: int = 0  # of them, those of schedules that are over: a redelivery begins a new one
    alarm: str = ""  # the key of its one alarm
    sending: bool = False  # an attempt is claimed, and what it brought is not noted
    refused: bool = False  # the last attempt met a refused address
    waits: str = ""  # why the next attempt was put off, uncharged: "breaker" or "slot"
    failed: str = ""  # the key of the row by which a recovery finds it

    @property
    def is_open(self) -> bool:
        """Say whether another attempt may follow."""
        return self.state == "pending"


@dataclass(frozen=True, slots=True)
class Record:
    """What is true of a response. Times are unix milliseconds; 0 means not yet."""

    id: str
    caller: str
    created_ms: int
    deadline_ms: int
    status: Status = Status.QUEUED
    mode: str = "poll"  # poll | run
    epoch: int = 1  # the number of the holder of a run; taken by whoever ends the response from outside
    background: bool = False
    store: bool = True
    stream: bool = False
    model: str | None = None
    metadata: dict[str, str] | None = None
    previous: str | None = None  # our id of the previous response
    token: str | None = None  # the upstream's continuation token, last known
    upstream_id: str | None = None  # what the upstream calls the response
    callback_url: str | None = None
    reply_to: str | None = None
    callback_events: tuple[str, ...] = ()  # the events the callback is sent; none named: all
    correlation_id: str | None = None  # the sender's own name of a queued request, repeated on its events
    trace: str = ""  # the traceparent of the span that stands for its life
    trace_parent: str = ""  # the id of the span that one is a child of; empty where nothing is recorded
    woken: bool = False  # the upstream has told of its end before its token was known here
    promised: bool = False  # somebody was given the id before the start was confirmed: the rows may not vanish
    deleted: bool = False
    ended_ms: int = 0
    purge: str = ""  # the key of its purge alarm
    claimed: bool = False  # whether the run of this epoch has a holder
    run: str = ""  # the key of its run alarm when the run was last granted or claimed; renewals move it on
    starts: int = 0  # how often the upstream has taken the work up
    lapses: int = 0  # leases in a row that ran out without a step forward
    next_seq: int = 0  # the next number of the event log
    reserved: int = 0  # above any event number ever sent
    restarted: int = 0  # the number of the event that made void what had been told before; 0: there is none
    upstream_next: int = 0  # the upstream's own number after the last event that is logged
    body_rows: int = 0  # overflow rows of the body; 0: it is in the record
    memos: int = 0  # facts that the upstream has kept with the run
    goes_on: bool = False  # among them what the work goes on with: whoever takes it over begins nothing anew
    legacy_rows: int = 0  # rows of what a response that continues this one needs of it
    deliveries: tuple[Delivery, ...] = ()
    # packed: the response object as last known, before that what the request says of it; not stored here if it is large
    body: bytes = field(default=b"", repr=False)
    write_id: str = ""
    etag: str = ""

    def targets(self, event: str) -> tuple[str, ...]:
        """Return where a terminal event of that type goes."""
        wanted = not self.callback_events or event in self.callback_events
        named = ((CALLBACK, self.callback_url if wanted else None), (REPLY_QUEUE, self.reply_to))
        return tuple(target for target, address in named if address)

    def delivery(self, target: str) -> Delivery | None:
        """Return the delivery to the target, if there is one."""
        return next((delivery for delivery in self.deliveries if delivery.target == target), None)

    def with_delivery(self, changed: Delivery) -> "Record":
        """Return the record with one delivery replaced."""
        return replace(
            self,
            deliveries=tuple(changed if one.target == changed.target else one for one in self.deliveries),
        )

    def facts(self) -> str:
        """Return, as JSON, everything but the body and what storage says of the row."""
        return orjson.dumps({name: value for name, value in asdict(self).items() if name in _FACTS and value}).decode()


_FACTS = frozenset(one.name for one in fields(Record)) - {"body", "write_id", "etag"}


def read(facts: str, *, body: bytes, write_id: str, etag: str) -> Record:
    """Return the record of a row; raise ValueError or TypeError if the row is not one."""
    loaded = orjson.loads(facts)
    if not isinstance(loaded, dict):
        raise TypeError("the facts of a record are an object")
    known = {name: value for name, value in loaded.items() if name in _FACTS}
    known["status"] = Status(known.get("status", Status.QUEUED))
    known["deliveries"] = tuple(Delivery(**one) for one in known.get("deliveries", ()))
    known["callback_events"] = tuple(known.get("callback_events", ()))
    for flag in _FLAGS:
        known.setdefault(flag, False)
    return Record(**known, body=body, write_id=write_id, etag=etag)


_FLAGS = ("background", "store")


def failure_key(caller_tag: str, failed_ms: int, response_id: str = "", target: str = "") -> str:
    """Return the row key by which a failed delivery is found: by caller, then by time. Bare, it starts a range."""
    return f"{FAILURES}{caller_tag}|{failed_ms:013d}" + (f"|{response_id}|{target}" if target else "")


def read_failure_key(key: str) -> tuple[str, str]:
    """Return the response and the target that such a key names; raise ValueError if it names none."""
    match = _FAILURE.fullmatch(key)
    if match is None:
        raise ValueError(f"not a failed delivery: {key}")
    return match[1], match[2]


def record_key(response_id: str) -> str:
    """Return the row key of a record."""
    return f"resp|{response_id}"


def child_key(response_id: str, suffix: str) -> str:
    """Return the row key of a row that belongs to a record."""
    return f"resp|{response_id}|{suffix}"
