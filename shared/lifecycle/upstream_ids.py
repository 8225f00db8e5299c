"""Upstream ids: which of our responses an upstream's id belongs to. They are kept only if the upstream sends webhooks.

The id is registered in the shard of its hash, before our record has it. A webhook that arrives earlier leaves a mark
there, which the registration finds. A webhook that arrives between the two writes marks the record. So no webhook is
lost.
"""

from contextlib import suppress

from shared.core import keys
from shared.core.alarms import Alarm, Kind
from shared.core.errors import Conflict
from shared.core.records import Record
from shared.runtime.ports import Ports
from shared.upstreams.routes import Route

TARGET = "u"  # the target of the alarm that removes such a row
MARK_MS = 600_000  # how long a webhook about an unknown response is remembered
SPARE_MS = 3_600_000  # how long after the response's deadline its row is kept


async def register(ports: Ports, record: Record, upstream_id: str) -> bool:
    """Register the upstream's id of a response. Return whether the upstream has announced its end already."""
    route = ports.upstreams.of(record)
    if not route.spec.announces_ends:
        return False
    owner = keys.upstream_owner(upstream_id, route.name)
    if await _insert(ports, owner, record.id, record.deadline_ms + SPARE_MS):
        return False
    key = keys.upstream_key(owner)
    row = await ports.store.find(owner, key)
    if row is None or row["response"]:
        return False
    with suppress(Conflict):  # our own write came first: its answer was lost, or another try made it
        await ports.store.replace(owner, key, {"response": record.id}, row.etag)
    return True


async def response_of(ports: Ports, route: Route, upstream_id: str) -> Record | None:
    """Return the response that an upstream's id belongs to, or None. An unknown id leaves a mark for `register`."""
    owner = keys.upstream_owner(upstream_id, route.name)
    key = keys.upstream_key(owner)
    row = await ports.store.find(owner, key)
    if row is None:  # the registration may still come first
        if await _insert(ports, owner, "", ports.clock.now_ms() + MARK_MS):
            return None
        row = await ports.store.find(owner, key)
    return await ports.store.read(row["response"]) if row and row["response"] else None


async def purge(ports: Ports, alarm: Alarm) -> None:
    """Remove the row of an upstream's id whose alarm is due."""
    await ports.store.discard(alarm.id, keys.upstream_key(alarm.id))
    await ports.store.remove(alarm)


async def _insert(ports: Ports, owner: str, response_id: str, until_ms: int) -> bool:
    alarm = Alarm(until_ms, Kind.PURGE, owner, TARGET)
    return await ports.store.insert(owner, keys.upstream_key(owner), {"response": response_id}, alarm)
