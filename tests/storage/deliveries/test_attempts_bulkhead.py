"""What every attempt uses at the time of sending: the bulkhead of its kind and the caller's current callback hosts."""

from dataclasses import replace

from shared.contract.callers import Callers
from shared.core.outcomes import SendError
from shared.core.records import Target
from shared.senders.callbacks import CallbackSender
from tests.support.stage import ANN, CALLBACK_URL, Stage


async def test_a_retry_takes_no_slot_of_a_first_attempt(stage: Stage) -> None:
    """The first attempt takes a slot of the bulkhead for first attempts.

    All others take slots of the one for retries.
    """
    stage.receiver.answers = [500, 500, 200]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    await stage.ring(response_id)
    await stage.ring(response_id)
    assert [first for first, _ in stage.receiver.asked] == [True, False, False]


async def test_a_first_attempt_without_a_slot_stays_a_first_attempt(stage: Stage) -> None:
    """A first attempt that was postponed for lack of a slot is not counted, and stays a first attempt."""
    stage.receiver.is_busy = True
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    stage.receiver.is_busy = False
    await stage.ring(response_id)
    assert [first for first, _ in stage.receiver.asked] == [True, True]
    assert (await stage.delivery(response_id)).attempt == 1


async def test_every_attempt_uses_the_callers_current_hosts(stage: Stage) -> None:
    """Every attempt uses the callback hosts that the caller has at the time of sending, not those of the create."""
    stage.receiver.answers = [500, 200]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    stage.change(callers=Callers((replace(ANN, callback_hosts=("*.contoso.com",)),)))
    await stage.ring(response_id)
    assert [post.hosts for post in stage.receiver.posts] == [(), ("*.contoso.com",)]


async def test_a_host_removed_from_the_allow_list_gets_nothing(stage: Stage) -> None:
    """A host that was removed from the allow-list after the create is refused for good, without a DNS lookup."""
    asked = []

    async def resolve(host: str, _port: int) -> list[str]:
        asked.append(host)
        return ["93.184.216.34"]

    stage.change(senders={Target.CALLBACK: CallbackSender(resolve=resolve), Target.REPLY_QUEUE: stage.replies})
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    assert asked == ["hooks.contoso.com"]
    stage.change(callers=Callers((replace(ANN, callback_hosts=("other.contoso.com",)),)))
    await stage.deliver()
    assert (await stage.delivery(response_id)).state == "blocked"
    (delivery,) = (await stage.engine.deliveries(ANN, response_id))["data"]
    assert [attempt["error"] for attempt in delivery["attempts"]] == [SendError.URL_REFUSED]
    assert asked == ["hooks.contoso.com"]
