"""Queue and timer triggers. A hint that cannot be read, or that cannot be acted on now, is dropped.

That loses nothing, because the alarms are in the table, and the heartbeat wakes the shards of overdue ones. Only a
queued request is more than a hint. It is delivered again until it is handled.
"""

import azure.functions as func

from functions import invocations
from shared.bootstrap import service
from shared.core.errors import StoreError, UnreadableMessage, UnreadableRow
from shared.starts.queue_intake import QueueMessage
from shared.storage.messages import DELIVERIES, REQUESTS, RUNS, WAKEUPS, RunOffer, Wakeup
from shared.telemetry.logs import logger

blueprint = func.Blueprint()
_log = logger(__name__)

# With text, the platform puts the top-level fields of a JSON body in place of the message's own id, dequeue count and
# times, in any case of letters. It also refuses a body that is not UTF-8 before any function runs.
BYTES = func.DataType.BINARY
LAST_TRY = 5  # maxDequeueCount in host.json, after which the platform moves a message to the poison queue


@blueprint.queue_trigger("message", WAKEUPS, "AzureWebJobsStorage", BYTES)
async def sweep(message: func.QueueMessage) -> None:
    """Act on the due alarms of the shards that a wake-up names."""
    await invocations.begin()
    try:
        wakeup = Wakeup.decode(message.get_body())
        await (await service()).engine.sweep(wakeup)
    except UnreadableMessage:
        _log.error("nudge.unreadable", extra={"message_id": message.id})
    except StoreError:
        _log.warning("sweep.storage_failed", extra={"shards": wakeup.shards})


@blueprint.queue_trigger("message", DELIVERIES, "AzureWebJobsStorage", BYTES)
async def deliver(message: func.QueueMessage) -> None:  # noqa: ARG001 - the binding's name
    """Drop a message of the release before, which asked for deliveries by messages. Its alarm fires within 20 s."""
    await invocations.begin()


@blueprint.queue_trigger("message", RUNS, "AzureWebJobsStorage", BYTES)
async def run(message: func.QueueMessage) -> None:
    """Drive the run that a message offers, until it is over or handed over."""
    await invocations.begin()
    try:
        offer = RunOffer.decode(message.get_body())
        await (await service()).engine.drive(offer)
    except UnreadableMessage:
        _log.error("run.unreadable", extra={"message_id": message.id})
    except UnreadableRow as error:
        _log.error("row.unreadable", extra={"response": offer.id, "reason": str(error)})
    except StoreError:
        _log.warning("run.storage_failed", extra={"response": offer.id})


@blueprint.queue_trigger("message", REQUESTS, "AzureWebJobsStorage", BYTES)
async def take_request(message: func.QueueMessage) -> None:
    """Start the response that a message asks for. If storage fails at the last try, the message is requeued."""
    await invocations.begin()
    given = QueueMessage(str(message.id), message.get_body())
    is_last = (message.dequeue_count or 0) >= LAST_TRY
    await (await service()).engine.take_request(given, is_last=is_last)


@blueprint.timer_trigger("timer", "30 */5 * * * *", use_monitor=False)
async def tend_poison(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """Handle the dead letters, every five minutes."""
    await invocations.begin()
    await (await service()).engine.drain_dead_letters()


@blueprint.timer_trigger("timer", "0 * * * * *", run_on_startup=True, use_monitor=False)
async def heartbeat(timer: func.TimerRequest) -> None:  # noqa: ARG001 - the binding's name
    """Wake every shard that has something to do, every minute and once when a process starts."""
    await (await service()).engine.heartbeat()
