"""Hints: each queue message of our own is read exactly as it was sent, or not at all."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.core.alarms import Alarm, Kind
from shared.core.errors import UnreadableMessage
from shared.core.ids import SHARDS
from shared.storage.messages import DELIVERIES, HINTS, INTERNAL, REQUESTS, RUNS, WAKEUPS, DeliverNow, RunOffer, Wakeup

ID = "resp_a123456789abcdef0123456789abcdef"
ALARM = Alarm(1_800_000_000_000, Kind.DELIVER, ID, "c")

Hint = Wakeup | DeliverNow | RunOffer
SENT: list[tuple[Wakeup | RunOffer, bytes]] = [
    (Wakeup("a", 1_800_000_000), b'{"shards":"a","at":1800000000}'),
    (Wakeup("03f", 1_800_000_000, 1_800_000_060), b'{"shards":"03f","at":1800000000,"until":1800000060}'),
    (RunOffer(ID, 2), b'{"response":"%b","epoch":2}' % ID.encode()),
]
ON_THE_WIRE: list[tuple[Hint, bytes]] = [
    *SENT,
    (DeliverNow(ALARM.key), b'{"alarm":"%b"}' % ALARM.key.encode()),  # of an older release. It is only read
]
METADATA = {"id", "dequeuecount", "expirationtime", "insertiontime", "nextvisibletime", "popreceipt"}


@pytest.mark.parametrize(("hint", "body"), SENT)
def test_a_hint_has_a_form_that_other_versions_read(hint: Wakeup | RunOffer, body: bytes) -> None:
    """The version before and the version after this one send and read the same messages."""
    assert hint.encode() == body
    assert type(hint).decode(body) == hint


@pytest.mark.parametrize(("hint", "body"), ON_THE_WIRE)
def test_a_hint_of_a_newer_version_is_read(hint: Hint, body: bytes) -> None:
    """Members that this version does not know are ignored."""
    assert type(hint).decode(orjson.dumps({**orjson.loads(body), "colour": ["red"]})) == hint


@pytest.mark.parametrize(("hint", "body"), SENT)
def test_no_member_of_a_hint_has_the_name_of_metadata(hint: Wakeup | RunOffer, body: bytes) -> None:
    """The platform would put such a member in place of what it knows of the message, in any case of letters."""
    assert not {name.lower() for name in orjson.loads(hint.encode())} & METADATA, body


def test_an_offer_of_an_earlier_version_is_read() -> None:
    """Earlier versions named the response `id`. Such offers may lie in the queue, or come during a deployment."""
    assert RunOffer.decode(b'{"id":"%b","epoch":2}' % ID.encode()) == RunOffer(ID, 2)
    both = {"id": ID.replace("a", "b"), "response": ID, "epoch": 2}
    assert RunOffer.decode(orjson.dumps(both)) == RunOffer(ID, 2)


@given(st.sets(st.sampled_from(SHARDS), min_size=1), st.integers(0, 2**53), st.integers(0, 2**53))
def test_any_wakeup_reads_back(shards: set[str], at_s: int, until_s: int) -> None:
    """All times and all sets of shards survive the queue."""
    sent = Wakeup("".join(sorted(shards)), at_s, until_s)
    assert Wakeup.decode(sent.encode()) == sent


def test_a_wakeup_of_the_release_before_is_read() -> None:
    """It names one shard in another member. Both are read while the two releases run beside each other."""
    assert Wakeup.decode(b'{"shard":"a","at":1800000000}') == Wakeup("a", 1_800_000_000)
    assert Wakeup.decode(b'{"shard":"b","at":1,"until":60}') == Wakeup("b", 1, 60)


@pytest.mark.parametrize(("hint", "body"), ON_THE_WIRE)
def test_every_hint_names_a_shard(hint: Hint, body: bytes) -> None:
    """A hint that is lost or cannot be carried out becomes a sweep of its shards."""
    assert hint.shards == type(hint).decode(body).shards
    assert hint.shards == ("03f" if b"03f" in body else "a")


def test_each_trigger_has_its_queue() -> None:
    """Three queues have hints, and one has requests. The names are part of every deployment."""
    assert {name: kind.__name__ for name, kind in HINTS.items()} == {
        "nudges": "Wakeup",
        "deliveries": "DeliverNow",
        "runs": "RunOffer",
    }
    assert INTERNAL == (WAKEUPS, DELIVERIES, RUNS, REQUESTS) == ("nudges", "deliveries", "runs", "requests")


BAD: dict[type[Hint], list[Any]] = {
    Wakeup: [
        {"at": 1},
        {"shards": "a"},
        {"shards": "", "at": 1},
        {"shards": "aa", "at": 1},
        {"shards": "ag", "at": 1},
        {"shards": "A", "at": 1},
        {"shards": ["a"], "at": 1},
        {"shards": "a", "at": "1"},
        {"shards": "a", "at": 1, "until": None},
        {"shard": "a"},
        {"shard": "", "at": 1},
        {"shard": "ab", "at": 1},
        {"shard": "g", "at": 1},
        {"shard": "A", "at": 1},
        {"shard": 1, "at": 1},
        {"shard": "a", "at": "1"},
        {"shard": "a", "at": 1.5},
        {"shard": "a", "at": None},
        {"shard": "a", "at": 1, "until": None},
        {"shard": "a", "at": 1, "until": "2"},
    ],
    DeliverNow: [
        {"alarm": None},
        {"alarm": 7},
        {"alarm": ""},
        {"alarm": "alarm|1"},
        {"alarm": [ALARM.key]},
        {"alarm": ALARM.key + "\n"},
        {"alarm": ALARM.key.replace("deliver", "unknown")},
        {"alarm": f"resp|{ID}"},
    ],
    RunOffer: [
        {"response": ID},
        {"response": "resp_1", "epoch": 1},
        {"response": ID.upper(), "epoch": 1},
        {"response": None, "epoch": 1},
        {"response": ID, "epoch": "1"},
        {"id": ID},
        {"epoch": 1},
        {"id": "resp_1", "epoch": 1},
        {"id": ID.upper(), "epoch": 1},
        {"id": None, "epoch": 1},
        {"id": ID, "epoch": "1"},
        {"id": ID, "epoch": 1.0},
        {"id": ID, "epoch": None},
    ],
}


@pytest.mark.parametrize(("kind", "members"), [(kind, members) for kind, wrong in BAD.items() for members in wrong])
def test_a_hint_with_a_wrong_member_is_unreadable(kind: type[Hint], members: dict[str, Any]) -> None:
    """A hint is read as a whole or not at all. The error keeps the message."""
    body = orjson.dumps(members)
    with pytest.raises(UnreadableMessage, match="not ") as unreadable:
        kind.decode(body)
    assert unreadable.value.body == body


@pytest.mark.parametrize("kind", HINTS.values())
@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'"\xff"', b"null", b"7", b'"a"', b"[]", b'[{"shard":"a"}]', b"{}"]
)
def test_a_hint_that_is_not_a_json_object_is_unreadable(kind: type[Hint], body: bytes) -> None:
    """Any other bytes raise the same error."""
    with pytest.raises(UnreadableMessage) as unreadable:
        kind.decode(body)
    assert unreadable.value.body == body


@pytest.mark.parametrize("kind", HINTS.values())
def test_a_hint_of_a_hundred_thousand_values_is_unreadable(kind: type[Hint]) -> None:
    """Like everything that others send, it is counted before it is read."""
    with pytest.raises(UnreadableMessage, match="over 100000 objects and lists"):
        kind.decode(b'{"shards":"a","at":1,"x":[' + b"[]," * 100_000 + b"0]}")


values = st.none() | st.booleans() | st.integers(-9, 9) | st.text() | st.sampled_from(["a", ID, ALARM.key])
bodies = st.dictionaries(
    st.sampled_from(["shard", "shards", "at", "until", "alarm", "id", "response", "epoch"]), values
).map(orjson.dumps)


@given(st.sampled_from([*HINTS.values()]), st.binary() | bodies)
def test_any_bytes_are_a_hint_or_unreadable(kind: type[Hint], body: bytes) -> None:
    """No other exception is raised."""
    try:
        assert set(kind.decode(body).shards) <= set(SHARDS)
    except UnreadableMessage:
        return
