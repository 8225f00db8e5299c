"""A request as it is judged: what is accepted, what the upstream is sent, what the headers ask for."""

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.parameters import Preference, check_idempotency_key, parse_preference
from shared.contract.requests import NewResponse, parse_request
from shared.core.errors import BadRequest


def parsed(**fields: object) -> NewResponse:
    """Return the checked request of a body with these fields."""
    return parse_request(orjson.dumps(fields))


def test_an_empty_object_is_a_request() -> None:
    """No field is required: the upstream judges what is missing."""
    assert parsed() == NewResponse({}, b"{}", False, False, True, None, None, None, None, None)


def test_every_field_that_is_judged_is_read() -> None:
    """What this service acts on stands apart; the body stays as it was sent."""
    body = {
        "model": "sim-2s",
        "background": True,
        "store": False,
        "metadata": {"team": "a"},
        "previous_response_id": "resp_1",
        "callback_url": "https://example.com/hook",
        "reply_to": "answers-1",
        "input": "hello",
        "stream": True,
        "unknown": {"kept": [1, None]},
    }
    targets = ("https://example.com/hook", "answers-1")
    assert parsed(**body) == NewResponse(
        body, orjson.dumps(body), True, True, False, "sim-2s", {"team": "a"}, "resp_1", *targets
    )


def test_null_means_absent() -> None:
    """Clients that write every field send nulls; each stands for its default."""
    names = ["model", "background", "store", "stream", "metadata", "previous_response_id", "callback_url", "reply_to"]
    body = dict.fromkeys([*names, "input"])
    assert parsed(**body) == NewResponse(body, orjson.dumps(body), False, False, True, None, None, None, None, None)


def test_targets_may_stand_in_the_metadata() -> None:
    """Clients that cannot add fields put them there; a field of the body comes first."""
    in_metadata = {"callback_url": "https://example.com/m", "reply_to": "from-metadata"}
    new = parsed(metadata=in_metadata)
    assert (new.callback_url, new.reply_to) == ("https://example.com/m", "from-metadata")
    new = parsed(metadata=in_metadata, callback_url="https://example.com/b", reply_to="from-body")
    assert (new.callback_url, new.reply_to) == ("https://example.com/b", "from-body")


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {f"k{n}": "" for n in range(16)},
        {"k" * 64: "v" * 512},
        {"": "empty"},
        {"é" * 64: "😀" * 512},
        {"lines": "a\tb\r\nc"},
    ],
)
def test_metadata_within_its_limits_is_kept(metadata: dict[str, str]) -> None:
    """Sixteen pairs, keys of 64 and values of 512 characters, whatever their size in bytes."""
    assert parsed(metadata=metadata).metadata == metadata


@pytest.mark.parametrize("name", ["abc", "a-b-c", "0" * 63, "a1-2b"])
def test_a_queue_name_is_one_that_storage_takes(name: str) -> None:
    """3 to 63 lower-case letters, digits and single hyphens within."""
    assert parsed(reply_to=name).reply_to == name


def test_depth_is_not_length() -> None:
    """A long list of small items is no deep one."""
    assert parsed(input=[{"role": "user", "content": [{"type": "input_text", "text": "x"}]}] * 5_000)


def test_the_last_of_equal_keys_counts() -> None:
    """What is judged is what is kept and sent: no reader further on sees another value."""
    new = parse_request(b'{"background":"no","background":true,"model":"a","model":"b"}')
    assert (new.background, new.model, new.body) == (True, "b", {"background": True, "model": "b"})


def test_the_upstream_is_asked_for_stored_background_work() -> None:
    """Whatever the caller asked for, the work goes on without a connection; unknown fields pass through."""
    sent = parsed(model="m", background=False, store=False, stream=False, tools=[{"x": None}], seed=7).for_upstream(
        None
    )
    assert sent == {
        "model": "m",
        "background": True,
        "store": True,
        "stream": False,
        "tools": [{"x": None}],
        "seed": 7,
    }


def test_the_upstream_sees_none_of_our_fields() -> None:
    """Callback and reply queue stay here, wherever they stood, and metadata goes on without them."""
    targets = {"callback_url": "https://example.com/hook", "reply_to": "answers"}
    assert "metadata" not in parsed(metadata=targets, **targets).for_upstream(None)
    sent = parsed(metadata={**targets, "team": "a"}, **targets).for_upstream(None)
    assert sent["metadata"] == {"team": "a"}
    assert not sent.keys() & targets.keys()


def test_the_upstream_is_sent_its_own_previous_id() -> None:
    """Our id means nothing there."""
    new = parsed(previous_response_id="resp_1")
    assert new.for_upstream("up_1")["previous_response_id"] == "up_1"
    assert "previous_response_id" not in new.for_upstream(None)
    assert new.body == {"previous_response_id": "resp_1"}


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, Preference()),
        ("", Preference()),
        ("wait=5", Preference(5)),
        ("wait=0", Preference(0)),
        ("wait = 5", Preference(5)),
        ('WAIT="5"', Preference(5)),
        ("wait=600", Preference(60)),
        ("respond-async", Preference(None, True)),
        ("respond-async, wait=10", Preference(10, True)),
        ("return=minimal; x=1, wait=7;foo, Respond-Async", Preference(7, True)),
        ("wait", Preference()),
        ("wait=", Preference()),
        ("wait=-1", Preference()),
        ("wait=1.5", Preference()),
        ("wait=soon", Preference()),
        ("await=5", Preference()),
        ("respond-async-not", Preference()),
        ("x=respond-async", Preference()),
        ("wait=" + "9" * 5_000, Preference(60)),
    ],
)
def test_a_preference_is_read_or_ignored(header: str | None, expected: Preference) -> None:
    """RFC 7240: what is not understood is no error; a wait is at most 60 s."""
    assert parse_preference(header) == expected


@given(st.text())
def test_any_prefer_header_is_read(header: str) -> None:
    """No header raises, and no wait is out of bounds."""
    assert (parse_preference(header).wait_s or 0) in range(61)


@pytest.mark.parametrize("header", [None, "k", "!~" * 100, "a" * 255])
def test_an_idempotency_key_is_visible_ascii(header: str | None) -> None:
    """1 to 255 characters; none given is none."""
    assert check_idempotency_key(header) == header


@pytest.mark.parametrize("header", ["", "a" * 256, "a b", "a\n", "ä", "\x7f"])
def test_any_other_idempotency_key_is_refused(header: str) -> None:
    """The header is named."""
    with pytest.raises(BadRequest) as refused:
        check_idempotency_key(header)
    assert refused.value.param == "Idempotency-Key"
