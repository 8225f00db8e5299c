"""The event log as rows: it reads back unchanged from any position, however the events were batched."""

import random
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.core import event_log, keys
from shared.core.blobs import Oversized
from shared.core.changesets import Row
from shared.core.event_log import MAX_EVENTS, MAX_TEXT, ROWS_A_PAGE, Event
from shared.core.keys import child_key

ID = "resp_0123456789abcdef0123456789abcdef"

Table = dict[str, dict[str, Any]]


def event(text: str) -> Event:
    """Return an event with this text."""
    return Event("response.output_text.delta", orjson.dumps({"delta": text}))


def noise(size: int, seed: int = 1) -> str:
    """Return text that does not compress to less than half its size."""
    return random.Random(seed).randbytes(size // 2).hex()


def table(rows: Sequence[Row]) -> Table:
    """Return rows as storage holds them, by row key."""
    found = {child_key(ID, row.suffix): row.properties for row in rows}
    assert len(found) == len(rows)
    return {key: {"RowKey": key, **found[key]} for key in sorted(found)}


def pages(rows: Table, key: str) -> Iterator[event_log.Page]:
    """Read page after page from a key, as a reader does, until one is not full."""
    while True:
        found = [row for at, row in rows.items() if key <= at < keys.events_end(ID)]
        page = event_log.read_page(found[:ROWS_A_PAGE])
        yield page
        if not page.is_full:
            return
        key = page.batches[-1].next_key


def read_after(rows: Table, after: int) -> list[tuple[int, Event]]:
    """Return the events above a number, with their numbers."""
    batches = [batch for page in pages(rows, event_log.batch_key_before(ID, after)) for batch in page.batches]
    received = [(number, one) for batch in batches for number, one in enumerate(batch.events, batch.first)]
    return [(number, one) for number, one in received if number > after]


names = st.from_regex(r"[a-z][a-z0-9_.]{0,20}", fullmatch=True)
bodies = st.dictionaries(st.text(max_size=5), st.text(max_size=20), max_size=3).map(orjson.dumps)
told_events = st.lists(st.builds(Event, names, bodies), min_size=1, max_size=60)
cuts = st.lists(st.integers(1, 9), min_size=60, max_size=60)


@settings(deadline=None)
@given(told_events, cuts, st.integers(0, 10**9), st.data())
def test_any_events_in_any_batches_read_back_from_any_cursor(
    received: list[Event], sizes: list[int], first: int, data: st.DataObject
) -> None:
    """A reader gets the numbers and events that were written, through all pages, without gap or repeat."""
    rows, rest, number = list[Row](), iter(received), first
    for size in sizes:
        batch = list(islice(rest, size))
        rows += event_log.event_rows(number, batch)
        number += len(batch)
    after = data.draw(st.integers(first - 1, number))
    whole = list(enumerate(received, first))
    assert read_after(table(rows), after) == [one for one in whole if one[0] > after]


@pytest.mark.parametrize("count", [1, MAX_EVENTS - 1, MAX_EVENTS, MAX_EVENTS + 1, 3 * MAX_EVENTS])
def test_a_batch_has_at_most_256_events(count: int) -> None:
    """A batch has at most 256 events, so a reader that looks for one reads at most one batch before it."""
    received = [event(str(number)) for number in range(count)]
    assert [len(batch) for batch in event_log.batches(received)][:-1] == [MAX_EVENTS] * ((count - 1) // MAX_EVENTS)
    rows = table(event_log.event_rows(7, received))
    for after in (6, 7, 7 + count // 2, 5 + count, 6 + count):
        assert read_after(rows, after) == list(enumerate(received, 7))[after - 6 :]
        skipped = [key for key in rows if key < event_log.batch_key_before(ID, after)]
        assert len(rows) - len(skipped) <= -(-(count - after + 6) // MAX_EVENTS) + 1


def test_a_batch_has_a_maximum_size() -> None:
    """An event that alone is over the limit is a batch of one event."""
    small, large = event("x" * 400_000), event("x" * (2 * MAX_TEXT))
    assert event_log.batches([small, small, small, large, small]) == [[small, small], [small], [large], [small]]


def test_a_large_event_spans_rows_and_reads_back() -> None:
    """An event that hardly compresses, such as a base64 image, spans several rows and reads back unchanged."""
    received = [event("a"), event(noise(3_000_000)), event("b")]
    rows = event_log.event_rows(0, received)
    assert len(rows) > 3
    assert read_after(table(rows), -1) == list(enumerate(received))
    assert all(event_log.size_of([row]) <= 655_360 for row in rows)


def test_a_page_that_ends_within_a_batch_leaves_it_to_the_next() -> None:
    """A batch that does not fit into a page is read whole with the next page. No event is read from half a batch."""
    received = [event(str(number)) for number in range(ROWS_A_PAGE - 1)] + [event(noise(3_000_000)), event("last")]
    rows = table([row for number, one in enumerate(received) for row in event_log.event_rows(number, [one])])
    first, *others = pages(rows, event_log.batch_key_before(ID, -1))
    assert first.is_full
    assert len(first.batches) == ROWS_A_PAGE - 1
    assert [one for page in (first, *others) for batch in page.batches for one in batch.events] == received


def test_the_largest_batch_is_smaller_than_a_page() -> None:
    """The largest batch has fewer rows than a page, because a reader would never get past a larger one."""
    rows = event_log.event_rows(0, [event(noise(4_000_000))])
    assert 1 < len(rows) < ROWS_A_PAGE


def test_an_event_too_large_for_storage_is_refused_before_it_is_sent() -> None:
    """An event of 6 MB raises Oversized. Azurite does not refuse everything that Azure refuses."""
    with pytest.raises(Oversized):
        event_log.event_rows(0, [event(noise(6_000_000))])


def test_the_end_of_a_stream_is_a_separate_row() -> None:
    """The end row has the number at which the events made from the record begin, also after a gap."""
    rows = table([*event_log.event_rows(0, [event("a"), event("b")]), event_log.end_row(256)])
    (page,) = pages(rows, event_log.batch_key_before(ID, -1))
    assert [(batch.first, batch.ends) for batch in page.batches] == [(0, False), (256, True)]


def test_the_key_range_of_a_log_holds_one_response_only() -> None:
    """No row of another kind or of another response lies between the first and the last key of a log."""
    assert event_log.batch_key_before(ID, -1) == f"resp|{ID}|event|0000000000|"
    others = [f"resp|{ID}|body|00", f"resp|{ID}|input|00", f"resp|{ID}", f"resp|{ID[:-1]}a|event|0000000000|00"]
    assert not [key for key in others if event_log.batch_key_before(ID, -1) <= key < keys.events_end(ID)]


@pytest.mark.parametrize(("number", "start"), [(0, 0), (1, 0), (2, 2), (9, 2), (10, 10), (999, 10)])
def test_an_event_is_found_by_the_keys_up_to_it(number: int, start: int) -> None:
    """The batch of an event is the last one that begins at it or before it, also if a batch spans rows."""
    rows = [*event_log.event_rows(0, [event("a")] * 2), *event_log.event_rows(2, [event(noise(3_000_000))] * 1)]
    rows += event_log.event_rows(10, [event("b")])
    found = [key for key in table(rows) if key < keys.events_from(ID, number + 1)]
    assert event_log.batch_key_at(ID, found, number) == keys.events_from(ID, start)


def test_without_keys_a_log_is_read_from_the_lowest_possible_one() -> None:
    """If there is no row in reach of an event, the log is read from the first key that may hold it."""
    assert event_log.batch_key_at(ID, [], 700) == event_log.batch_key_before(ID, 699)


def test_a_batch_has_one_row_with_the_number_of_its_first_event() -> None:
    """The row of a small batch is named by the number of its first event."""
    rows = event_log.event_rows(3, [event("a")])
    assert [row.suffix for row in rows] == ["event|0000000003|00"]
