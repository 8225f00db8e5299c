"""The events that end a stream. They are not stored, because they are made from the record."""

from shared import off_loop
from shared.contract import responses, stream_events
from shared.core.records import Record
from shared.core.states import terminal_count
from shared.runtime.ports import Ports


async def made_from(record: Record, body: bytes) -> list[tuple[int, bytes]]:
    """Return the events that end the stream of an ended response, as numbers and frames.

    `body` is its packed response object.
    """
    return await off_loop.run_packed(body, _made_from, record, body)


def _made_from(record: Record, body: bytes) -> list[tuple[int, bytes]]:
    response = responses.stored_response(record, body)
    events = stream_events.terminal_events(record.status, response)
    first = record.log.next_seq - terminal_count(record.status)
    last = len(events) - 1
    return [
        (first + place, stream_events.frames(record.id, first + place, [event], ends=place == last))
        for place, event in enumerate(events)
    ]


async def read(ports: Ports, response_id: str) -> list[tuple[int, bytes]]:
    """Return the events that end the stream of a response, or none if it has been removed.

    Raises StoreError if storage does not return the record.
    """
    record = await ports.store.read(response_id)
    return await made_from(record, await ports.store.body(record)) if record else []
