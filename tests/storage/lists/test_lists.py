"""What a caller reads about all that is theirs, in the form of the HTTP answers."""

from datetime import date

from shared.lists.queries import UsageQuery, parse_deliveries, parse_responses
from tests.support.stage import ANN, CALLBACK_URL, Stage


async def test_each_list_has_its_form(stage: Stage) -> None:
    """A service without responses has empty ones."""
    empty = {"object": "list", "data": [], "has_more": False, "next_after": None}
    lists = stage.engine.lists
    assert await lists.responses(ANN, parse_responses({})) == {**empty, "first_id": None, "last_id": None}
    assert await lists.deliveries_in_trouble(ANN, parse_deliveries({})) == empty
    used = await lists.usage(ANN, UsageQuery(lists.this_day(), lists.this_day()))
    assert (used["data"], used["total"]["responses"], used["total"]["cost"]) == ([], 0, None)


async def test_one_response_is_in_all_of_them(stage: Stage) -> None:
    """With its id, its delivery, and its day."""
    stage.receiver.answers = [500]
    record = await stage.ended(callback_url=CALLBACK_URL)
    await stage.deliver()
    lists = stage.engine.lists
    assert lists.this_day() == date(2027, 1, 15)
    assert [one["id"] for one in (await lists.responses(ANN, parse_responses({})))["data"]] == [record.id]
    deliveries = (await lists.deliveries_in_trouble(ANN, parse_deliveries({})))["data"]
    assert [one["response_id"] for one in deliveries] == [record.id]
    used = await lists.usage(ANN, UsageQuery(lists.this_day(), lists.this_day()))
    assert used["total"]["responses"] == 1
