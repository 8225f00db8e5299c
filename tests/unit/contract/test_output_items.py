"""The finished items of a stream."""

import random
import tracemalloc
from collections.abc import Callable

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.output_items import MAX_TEXT, OutputItems, index_in, items_in, message, told_by
from shared.core.event_log import Event

TEXT = [{"type": "output_text", "text": "hello", "annotations": [], "logprobs": []}]
DELTA = "response.output_text.delta"
# The indexes of an item and of its part in the nth of many empty texts.
PLACES: dict[str, Callable[[int], tuple[int, int]]] = {"items": lambda n: (n % 9_999, n), "contents": lambda n: (0, n)}
MESSAGE = {"id": "msg_0", "type": "message", "role": "assistant", "status": "completed", "content": TEXT}


def done(item: object, **fields: object) -> Event:
    """Return the event of a finished item."""
    kind = "response.output_item.done"
    return Event(kind, orjson.dumps({"type": kind, "item": item, **fields}))


def collected(*events: Event) -> list[dict[str, object]]:
    """Return the items of these events."""
    items = OutputItems()
    for event in events:
        items.take(told_by(event))
    return items.items


@given(st.permutations(range(6)))
def test_items_stand_in_the_order_of_their_indexes(order: list[int]) -> None:
    """Upstreams finish parallel items in any order."""
    assert collected(*(done({"n": n}, output_index=n) for n in order)) == [{"n": n} for n in range(6)]


def test_the_last_item_of_an_index_counts() -> None:
    """A stream that is read twice, or an upstream that corrects itself, gives one item."""
    assert collected(done({"n": 1}, output_index=0), done({"n": 2}, output_index=0)) == [{"n": 2}]


def test_an_item_without_an_index_follows_the_others() -> None:
    """Some gateways leave the index out, or send null or a negative one."""
    events = [done({"n": 0}), done({"n": 1}, output_index=None), done({"n": 2}, output_index=-1)]
    assert collected(*events) == [{"n": 0}, {"n": 1}, {"n": 2}]


def test_other_events_and_items_that_are_no_objects_are_ignored() -> None:
    """Only finished items are output."""
    added = Event("response.output_item.added", done({"n": 1}).body)
    assert collected(added, done(None), done("text"), done([1]), Event("response.output_item.done", b"{}")) == []


def test_a_restart_begins_anew() -> None:
    """The items of earlier work are not those of the next."""
    items = OutputItems()
    items.take(told_by(done({"n": 1}, output_index=1)))
    items.clear()
    items.take(told_by(done({"n": 0}, output_index=0)))
    assert items.items == [{"n": 0}]


def test_items_that_no_response_may_keep_are_dropped() -> None:
    """Memory is bounded by the largest output that is kept, 2.5 MiB compressed. A replaced item counts once."""
    items = OutputItems()
    noise = random.Random(1)
    for _ in range(4):
        items.take(told_by(done({"text": noise.randbytes(900_000).hex()}, output_index=0)))
    assert len(items.items) == 1
    for index in range(1, 4):
        items.take(told_by(done({"text": noise.randbytes(900_000).hex()}, output_index=index)))
    assert (items.is_oversized, items.items) == (True, [])
    items.clear()
    assert (items.is_oversized, items.items) == (False, [])


# Texts without items


def told(kind: str, **fields: object) -> Event:
    """Return an event about the text of a part."""
    return Event(f"response.output_text.{kind}", orjson.dumps({"output_index": 0, "content_index": 0, **fields}))


@pytest.mark.parametrize(
    "events",
    [
        [told("delta", delta="hel"), told("delta", delta="lo")],
        [told("done", text="hello")],
        [told("delta", delta="he"), told("done", text="hello")],
        [told("delta", delta="hel"), told("delta", delta="lo", content_index=1)],
        [
            told("delta", delta="hello", output_index=0),
            told("delta", delta=7),
            told("delta", delta="x", output_index="0"),
        ],
    ],
)
def test_a_text_that_no_item_has_is_a_message(events: list[Event]) -> None:
    """Some servers stream texts alone."""
    assert collected(*events) == [MESSAGE]


def test_an_item_that_is_done_has_its_text_itself() -> None:
    """Its texts count no longer. A text of another item stays, in its place."""
    events = told("delta", delta="x"), told("delta", delta="hello", output_index=1), done({"n": 0}, output_index=0)
    assert collected(*events) == [{"n": 0}, {**MESSAGE, "id": "msg_1"}]


def test_a_text_that_no_response_may_keep_is_dropped() -> None:
    """Items that are done are kept, and so is what they have in place of their texts."""
    half = "x" * 1_500_000
    assert collected(told("delta", delta=half), told("delta", delta=half), told("delta", delta="y")) == []
    fits = told("delta", delta=half), done({"n": 0}, output_index=0), told("delta", delta="hello", output_index=1)
    assert collected(*fits) == [{"n": 0}, {**MESSAGE, "id": "msg_1"}]
    again = told("done", text=half), told("done", text=half), told("done", text="hello")
    assert collected(*again) == [MESSAGE]


# Other forms of an output


@pytest.mark.parametrize("output", ["hello", MESSAGE, [MESSAGE], [None, "x", {}, {**MESSAGE, "content": "hello"}]])
def test_an_output_in_another_form_is_a_list_of_items(output: object) -> None:
    """A text becomes the message that says it. What is no object is no item."""
    assert items_in({"output": output}) == [MESSAGE]


@pytest.mark.parametrize("output", [None, "", 7, [], {}, [None, "x"]])
def test_an_output_may_be_empty(output: object) -> None:
    """Nothing is made up."""
    assert items_in({"output": output}) == []


@pytest.mark.parametrize("text", [None, "", 7, ["hello"]])
def test_only_a_text_becomes_a_message(text: object) -> None:
    """`output_text` beside an empty output is one."""
    assert message(text) == []
    assert message("hello") == [MESSAGE]


@pytest.mark.parametrize("index", [10_000, 10**9, 2**63])
def test_an_index_that_no_output_has_is_none(index: int) -> None:
    """Such an item follows the others."""
    assert index_in({"output_index": index}) is None
    assert collected(done({"n": 0}, output_index=0), done({"n": 1}, output_index=index)) == [{"n": 0}, {"n": 1}]
    assert collected(Event(DELTA, orjson.dumps({"output_index": index, "delta": "a"}))) == []


def test_an_output_has_ten_thousand_items_at_most() -> None:
    """More of them are too large, however small each one is."""
    items = OutputItems()
    for n in range(10_000):
        items.take(told_by(done({}, output_index=n)))
    assert (len(items.items), items.is_oversized) == (10_000, False)
    items.take(told_by(done({})))
    assert (items.items, items.is_oversized) == ([], True)


@pytest.mark.parametrize("parts", PLACES)
def test_empty_texts_are_no_way_around_the_limit(parts: str) -> None:
    """Each needs memory, although it has no characters."""
    items = OutputItems()
    tracemalloc.start()
    for n in range(20_000):
        items.take(told_by(Event(DELTA, b'{"output_index":%d,"content_index":%d,"delta":""}' % PLACES[parts](n))))
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 1_048_576


def test_items_that_are_too_large_unpacked_are_none() -> None:
    """What repeats itself is packed to a thousandth, and every reader of the response would get it unpacked."""
    items = OutputItems()
    for index in range(3):
        items.take(told_by(done({"text": "a" * 10_000_000}, output_index=index)))
    assert (len(items.items), items.is_oversized) == (3, False)
    items.take(told_by(done({"text": "b" * 10_000_000}, output_index=2)))
    assert (len(items.items), items.is_oversized) == (3, False)  # it replaces another one
    assert items.text_size < MAX_TEXT
    items.take(told_by(done({"text": "a" * 10_000_000}, output_index=3)))
    assert (items.items, items.is_oversized, items.text_size) == ([], True, 0)
