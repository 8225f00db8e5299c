"""Queue and timer triggers. A message is a hint: one that cannot be read, or whose work cannot be done now, is dropped.

Nothing is lost by that: alarms are the truth, and the heartbeat nudges for whatever is overdue. Only a queued request
is more than a hint: it comes back until it is taken.
"""

import azure.functions as func
import orjson

from shared.bootstrap import service
from shared.core.alarms import read_key
from shared.core.errors import StoreError
from shared.core.ids import SHARDS, is_id
from shared.lifecycle.queue_intake import Message
from shared.storage.wakeups import DELIVERIES, NUDGES, REQUESTS, RUNS
from shared.telemetry.logs import logger

blueprint = func.Blueprint()
_log = logger(__name__)

LAST_TRY = 5  # maxDequeueCount in host.json: after it the platform gives a message up


@blueprint.queue_trigger("message", NUDGES, "AzureWebJobsStorage")
async def sweep(message: func.QueueMessage) -> None:
    """Ring the due alarms of the shard that a nudge names."""
    try:
        nudge = orjson.loads(message.get_body())
        shard, at_s, until_s = str(nudge["shard"]), int(nudge["at"]), int(nudge.get("until", 0))
    except (ValueError, KeyError, TypeError):
        shard, at_s, until_s = "", 0, 0
    if len(shard) != 1 or shard not in SHARDS:
        _log.error("nudge.unreadable", extra={"message_id": message.id})
        return
    try:
        await (await service()).engine.sweep(shard, at_s, until_s)
    except StoreError:
        _log.warning("sweep.storage_failed", extra={"shard": shard})


@blueprint.queue_trigger("message", DELIVERIES, "AzureWebJobsStorage")
async def deliver(message: func.QueueMessage) -> None:
    """Make the delivery attempt whose alarm a message names."""
    try:
        alarm_key = str(orjson.loads(message.get_body())["alarm"])
        read_key(alarm_key)
    except (ValueError, KeyError, TypeError):
        _log.error("delivery.unreadable", extra={"message_id": message.id})
        return
    try:
        await (await service()).engine.deliver(alarm_key)
    except StoreError:
        _log.warning("delivery.storage_failed", extra={"message_id": message.id})


@blueprint.queue_trigger("message", RUNS, "AzureWebJobsStorage")
async def run(message: func.QueueMessage) -> None:
    """Drive the run that a message offers, until it is over or handed over."""
    try:
        offer = orjson.loads(message.get_body())
        response_id, epoch = str(offer["id"]), int(offer["epoch"])
    except (ValueError, KeyError, TypeError):
        response_id, epoch = "", 0
    if not is_id(response_id):
        _log.error("run.unreadable", extra={"message_id": message.id})
        return
    try:
        await (await service()).engine.run(response_id, epoch)
    except StoreError:
        _log.warning("run.storage_failed", extra={"response": response_id})


@blueprint.queue_trigger("message", REQUESTS, "AzureWebJobsStorage")
async def take_request(message: func.QueueMessage) -> None:
    """Start the response that a message asks for; at the last try, send it to the end of its queue."""
    given = Message(str(message.id), message.get_body())
    engine = (await service()).engine
    try:
        await engine.take_request(given)
    except StoreError:
        _log.warning("request.storage_failed", extra={"message_id": message.id})
        if (message.dequeue_count or 0) < LAST_TRY:
            raise
        await engine.put_back(given)


@blueprint.timer_trigger("timer", "30 */5 * * * *", use_monitor=False)
async def tend_poison(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """See to what no trigger could handle: every five minutes."""
    await (await service()).engine.tend_poison()


@blueprint.timer_trigger("timer", "0 * * * * *", run_on_startup=True, use_monitor=False)
async def heartbeat(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """Nudge for whatever is due: every minute, and once when a process starts."""
    await (await service()).engine.heartbeat()
