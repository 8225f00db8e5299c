"""What the upstream tells by webhooks: that one of its responses has ended, and which of ours that is.

The upstream's id is noted, in the shard of its hash, before our response learns it. An event that comes earlier leaves
a mark there, which whoever notes the id finds; one that comes between the two writes marks the record. So none is
lost, and none changes anything by itself: it only makes us ask, at once instead of within the minute.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import orjson

from shared.contract import signatures
from shared.contract.signatures import NotVerified
from shared.core import states
from shared.core.alarms import Alarm, Kind
from shared.core.changesets import Write
from shared.core.errors import Conflict, NotFound, Unauthorized
from shared.core.records import Record
from shared.core.states import Status
from shared.deliveries import attempts
from shared.lifecycle import polling
from shared.runtime.ports import World
from shared.runtime.unit_of_work import decide
from shared.telemetry import tracing
from shared.telemetry.logs import logger
from shared.upstreams.protocol import MAX_ID

_log = logger(__name__)

UPSTREAM = "upstream|"
NAMED = "u"  # the target of the alarm that removes such a row
MARKED_MS = 600_000  # how long an event of a response that is not ours (yet) is remembered
SPARE_MS = 3_600_000
_ENDS = frozenset(states.event_type(status) for status in Status if status.is_terminal)


def _name(upstream_id: str) -> str:
    """Return the id that stands for an upstream's: its first hex digit is the shard of its row."""
    return f"resp_{hashlib.sha256(upstream_id.encode()).hexdigest()[:32]}"


def row_key(name: str) -> str:
    """Return the key of the row of an upstream's id."""
    return UPSTREAM + name.removeprefix("resp_")


async def name(world: World, record: Record, upstream_id: str) -> bool:
    """Note whose work that is; say whether the upstream has told of its end already. Nothing where it never tells."""
    if not world.limits.is_told:
        return False
    named = _name(upstream_id)
    if await _insert(world, named, record.id, record.deadline_ms + SPARE_MS):
        return False
    row = await world.store.find(named, row_key(named))
    if row is None or row["response"]:
        return False
    try:
        await world.store.replace(named, row_key(named), {"response": record.id}, row.etag)
    except Conflict:
        return False  # by ourselves: an answer of storage was lost
    return True


async def _insert(world: World, named: str, response_id: str, until_ms: int) -> bool:
    alarm = Alarm(until_ms, Kind.PURGE, named, NAMED)
    return await world.store.insert(named, row_key(named), {"response": response_id}, alarm)


async def forget(world: World, alarm: Alarm) -> None:
    """Remove the row of an upstream's id, whose time is over."""
    await world.store.discard(alarm.id, row_key(alarm.id))
    await world.store.remove(alarm)


async def hear(world: World, headers: Mapping[str, str], body: bytes) -> None:
    """Ask for the response whose end a webhook tells of.

    Raises NotFound where webhooks are not set up, Unauthorized if this is not the upstream's word, Unavailable if the
    end cannot be seen yet: then the upstream tells again.
    """
    if not world.rules.upstream_secrets:
        raise NotFound("Webhooks of the upstream are not configured.")
    try:
        signatures.verify(world.rules.upstream_secrets, headers, body, world.now_ms() // 1000)
    except NotVerified as error:
        raise Unauthorized(f"The webhook is not verified: {error}.", code="invalid_signature") from None
    if (upstream_id := _ended(body)) and (ended := await _look(world, upstream_id)):
        attempts.begin(world, ended)


def _ended(body: bytes) -> str | None:
    """Return the upstream's id of the response that has ended; None for an event about something else."""
    try:
        event = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    match event:
        case {"type": str(kind), "data": {"id": str(upstream_id)}} if kind in _ENDS and len(upstream_id) <= MAX_ID:
            return upstream_id
    return None


async def _look(world: World, upstream_id: str) -> Record | None:
    """Return the response as it then is, if it ends by this."""
    record = await _ours(world, upstream_id)
    if record and not record.token:
        record = await decide(world, record, record.id, _woken)
    if record and record.token and record.mode == "poll" and not record.status.is_terminal:
        with tracing.under(record.trace):
            return await polling.finish(world, record)
    return None


async def _ours(world: World, upstream_id: str) -> Record | None:
    """Return the response that has this name upstream; if there is none, leave a mark for whoever notes it soon."""
    named = _name(upstream_id)
    if await _insert(world, named, "", world.now_ms() + MARKED_MS):
        return None
    row = await world.store.find(named, row_key(named))
    return await world.store.read(row["response"]) if row and row["response"] else None


def _woken(record: Record) -> Write | None:
    if record.token or record.woken or record.status.is_terminal:
        return None
    return Write(replace(record, woken=True))
