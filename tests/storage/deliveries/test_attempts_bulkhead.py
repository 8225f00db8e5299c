"""What every attempt is sent with: the lane it belongs to, and the hosts its caller may call back as of now."""

from dataclasses import replace

from shared.contract.callers import Callers
from shared.core.outcomes import SendError
from shared.core.records import Target
from shared.senders.callbacks import CallbackSender
from tests.support.stage import ANN, CALLBACK_URL, Stage


async def test_a_retry_takes_no_slot_of_a_first_attempt(stage: Stage) -> None:
    """The first attempt asks for a slot of its lane, all others for one of theirs."""
    stage.receiver.answers = [500, 500, 200]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    await stage.ring(response_id)
    await stage.ring(response_id)
    assert [first for first, _ in stage.receiver.asked] == [True, False, False]


async def test_a_first_attempt_that_found_no_slot_stays_one(stage: Stage) -> None:
    """Waiting is not charged, so it does not move a delivery among the retries."""
    stage.receiver.is_busy = True
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    stage.receiver.is_busy = False
    await stage.ring(response_id)
    assert [first for first, _ in stage.receiver.asked] == [True, True]
    assert (await stage.delivery(response_id)).attempt == 1


async def test_the_callers_hosts_of_now_go_with_every_attempt(stage: Stage) -> None:
    """The list is not that of the create but the one the deployment has at the moment of sending."""
    stage.receiver.answers = [500, 200]
    response_id = (await stage.ended(callback_url=CALLBACK_URL)).id
    await stage.deliver()
    stage.change(callers=Callers((replace(ANN, callback_hosts=("*.contoso.com",)),)))
    await stage.ring(response_id)
    assert [post.hosts for post in stage.receiver.posts] == [(), ("*.contoso.com",)]


async def test_a_host_taken_off_the_list_gets_nothing_any_more(stage: Stage) -> None:
    """What was allowed at create and is not now is refused at the attempt, for good, without a look at its name."""
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
