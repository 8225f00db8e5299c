"""Entries of the lists: what lists show of a response without its record."""

from shared.core import keys
from shared.core.entries import DeliveryEntry, Entry, delivery_entry, entry_of
from shared.core.records import Delivery, Record, RequestInfo, Target, Usage, WaitInfo
from shared.core.states import Status

ID = "resp_0123456789abcdef0123456789abcdef"


def test_an_entry_says_what_its_record_says() -> None:
    """It has nothing of the prompt or the output, and no address."""
    wait = WaitInfo("upstream", "status 503", 2, 20, 30)
    request = RequestInfo(
        background=True,
        store=True,
        model="m",
        metadata={"team": "blue"},
        previous_id="resp_1",
        callback_url="https://secret.example",
        reply_to="results",
    )
    record = Record(
        ID, "ann", 10, 99, Status.FAILED, True, True, 40, error="x", request=request, usage=Usage(1, 2, 3, 4), wait=wait
    )
    assert entry_of(record) == Entry(
        ID,
        10,
        "ann",
        Status.FAILED,
        background=True,
        store=True,
        model="m",
        previous_id="resp_1",
        metadata={"team": "blue"},
        ended_ms=40,
        deadline_ms=99,
        hidden=True,
        error="x",
        usage=Usage(1, 2, 3, 4),
        wait=wait,
    )


def test_the_place_of_an_entry_is_the_end_of_its_key() -> None:
    """So a list that is read in the order of keys is in the order of places."""
    entry = entry_of(Record(ID, "ann", 10, 99))
    assert keys.entry_key("live", "a" * 16, 10, ID) == keys.entries_from("live", "a" * 16) + entry.place
    delivery = delivery_entry(Record(ID, "ann", 10, 99), Delivery(Target.CALLBACK, host="example.com"), 30)
    assert delivery == DeliveryEntry(ID, "c", 30, "ann", "pending", "example.com")
    assert keys.delivery_key("open", "a" * 16, 30, ID, "c") == keys.entries_from("open", "a" * 16) + delivery.place
    assert (entry.name, delivery.name) == (ID, f"{ID}|c")
