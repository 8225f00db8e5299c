"""The opening of a foreground call: it is new work, or joins the work of a POST that it repeats."""

from dataclasses import dataclass, field, replace
from typing import Any

from shared import off_loop
from shared.contract.callers import Caller
from shared.contract.requests import NewResponse
from shared.core.ids import derived_id, new_id
from shared.core.records import Record
from shared.foreground.clients import Client
from shared.foreground.leaving import Leaving
from shared.foreground.repeats import Repeats
from shared.runtime.ports import Ports
from shared.runtime.unit_of_work import before_accepting
from shared.starts import admission


@dataclass(frozen=True, slots=True)
class Opening:
    """An admitted call. `request` is the body for the upstream, or None if the call joins the response of `record`.

    `leaving` is what follows if its client leaves. Of a call with an idempotency key, only a cancellation can follow.
    """

    record: Record
    request: dict[str, Any] | None = field(repr=False)
    leaving: Leaving | None


async def open_call(ports: Ports, caller: Caller, new: NewResponse, key: str | None, client: Client) -> Opening:
    """Admit a foreground call, and decide whether it joins. Raises as `admission.admit` does.

    The id that Azure's library for .NET gives a request is the key of a call that is not streamed and has no other.
    """
    if key is None and not (new.stream or new.cancels):
        key = client.request_id
    mine = derived_id(caller.name.encode(), key.encode(), new.raw) if key else new_id()
    record, request = await admission.admit(ports, caller, new, mine, is_repeatable=key is not None)
    if key and not new.cancels:
        return Opening(record, request, None)
    body = await off_loop.run(len(new.raw), new.canonical_body)
    repeats = Repeats(ports, derived_id(b"same", caller.name.encode(), body), mine, client)
    if key:
        with before_accepting():
            await repeats.take(mine)
        return Opening(record, request, Leaving(ports, repeats, mine, cancels=True))
    inserts = client.retry_count is not None or client.bounds_body or new.cancels
    with before_accepting():
        place = await repeats.place(inserts=inserts)
    leaving = Leaving(ports, repeats, place.id, cancels=new.cancels)
    if place.record:
        return Opening(place.record, None, leaving)
    return Opening(replace(record, id=place.id), request, leaving)
