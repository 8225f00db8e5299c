"""Entries of the lists: what lists show of a response without its record."""

from shared.core.entries import Entry, entry_of
from shared.core.records import Record, RequestInfo, Usage, WaitInfo
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
