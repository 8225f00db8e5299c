"""First attempts: when each delivery begins, and the sends of those that this process has claimed.

The transaction that ends a response, or begins a redelivery, claims the first attempt of each target that can be sent
to now. Whoever commits it sends at once, without a message. If that process crashes, the alarm of the claim remains.
"""

from collections.abc import Mapping
from contextlib import suppress

from shared.core.errors import StoreError
from shared.core.ids import shard_of
from shared.core.records import Record, Target
from shared.core.states import Status, event_type
from shared.deliveries import attempts
from shared.deliveries.attempts import Claim
from shared.runtime.ports import Ports
from shared.telemetry import tracing
from shared.transitions import delivery_transitions
from shared.transitions.delivery_transitions import FirstAttempt


def plan(ports: Ports, record: Record, status: Status) -> Mapping[Target, FirstAttempt]:
    """Return when the deliveries of a response begin that ends with a status."""
    return {target: first_attempt(ports, record, target) for target in record.request.targets(event_type(status))}


def first_attempt(ports: Ports, record: Record, target: Target, *, again: bool = False) -> FirstAttempt:
    """Return when a delivery begins. It begins later if its host cannot be sent to now.

    A process that may not work between its invocations leaves it to a sweep. `again`: it is a redelivery.
    """
    host = ports.senders[target].host(record.request.address(target))
    if not ports.config.limits.watch:
        return FirstAttempt(host, ports.clock.now_ms())
    return FirstAttempt(host, attempts.put_off(ports, target, record.caller, host, first=not again))


def begin(ports: Ports, record: Record, only: str | None = None) -> None:
    """Send the first attempts that the last write of this record has claimed, without waiting for them.

    Call this only in the process that made that write, and once. `only`: the write has claimed that target alone.
    """
    for delivery in record.deliveries:
        if delivery.sending and only in (None, delivery.target):
            host = ports.senders[delivery.target].host(record.request.address(delivery.target))
            claim = Claim(delivery_transitions.first_alarm(record, delivery, host), delivery.number)
            ports.background.start(_send(ports, claim, record))


async def _send(ports: Ports, claim: Claim, record: Record) -> None:
    """Make an attempt. If it cannot begin in time, ask for a sweep when its alarm is due."""
    trace, attempting = record.trace, attempts.attempt(ports, claim, record)
    del record
    with suppress(StoreError), tracing.under(trace):
        if not await attempting:
            await ports.wakeups.sweep(shard_of(claim.alarm.id), claim.alarm.due_ms)
