"""Requests: what is accepted, and what the upstream receives."""

import orjson
import pytest

from shared.contract.requests import NewResponse, parse_request
from shared.core.errors import BadRequest


def parsed(**fields: object) -> NewResponse:
    """Return the checked request for a body with these fields."""
    return parse_request(orjson.dumps(fields))


def test_an_empty_object_is_a_request() -> None:
    """No field is required here. The upstream decides what is missing."""
    assert parsed() == NewResponse({}, b"{}", False, False, True, None, None, None, None, None)


def test_every_field_that_is_checked_is_read() -> None:
    """The fields that this service uses are read into attributes. The body is kept as it was sent."""
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
    """A null field has its default value. Clients that write every field send nulls."""
    names = ["model", "background", "store", "stream", "metadata", "previous_response_id", "callback_url", "reply_to"]
    body = dict.fromkeys([*names, "input"])
    assert parsed(**body) == NewResponse(body, orjson.dumps(body), False, False, True, None, None, None, None, None)


def test_targets_may_be_in_the_metadata() -> None:
    """Clients that cannot add fields put the targets into the metadata. A field of the body takes precedence."""
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
    """Metadata may have sixteen pairs, with keys of 64 characters and values of 512 characters.

    Bytes are not counted.
    """
    assert parsed(metadata=metadata).metadata == metadata


@pytest.mark.parametrize("name", ["abc", "a-b-c", "0" * 63, "a1-2b"])
def test_a_queue_name_that_storage_accepts_is_accepted(name: str) -> None:
    """A queue name has 3 to 63 lower-case letters, digits and single hyphens. Hyphens are neither first nor last."""
    assert parsed(reply_to=name).reply_to == name


def test_depth_is_not_length() -> None:
    """A long list of small items is not deep."""
    assert parsed(input=[{"role": "user", "content": [{"type": "input_text", "text": "x"}]}] * 5_000)


def test_the_last_of_equal_keys_counts() -> None:
    """If a key is repeated, the last value is checked, kept and sent. No later reader sees another value."""
    new = parse_request(b'{"background":"no","background":true,"model":"a","model":"b"}')
    assert (new.background, new.model, new.body) == (True, "b", {"background": True, "model": "b"})


def test_the_upstream_is_asked_for_stored_background_work() -> None:
    """The upstream always gets a stored background request, so the work goes on without a connection.

    Unknown fields pass.
    """
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


@pytest.mark.parametrize("number", [b"18446744073709551616", b"-9223372036854775809", b"1234567890123456789012345"])
def test_a_number_of_any_size_reaches_the_upstream(number: bytes) -> None:
    """Its digits are those of the caller. A half of a surrogate pair and NaN are still refused, as in any request."""
    sent = parse_request(b'{"model":"m","seed":%b}' % number).for_upstream(None)
    assert b'"seed":%b' % number in orjson.dumps(sent)
    for wrong in (rb'"\ud83d"', b"NaN"):
        with pytest.raises(BadRequest):
            parse_request(b'{"model":"m","seed":%b,"x":%b}' % (number, wrong))


@pytest.mark.parametrize("store", [True, False, None])
def test_a_foreground_upstream_is_asked_as_the_caller_asks(store: bool | None) -> None:
    """A foreground upstream gets the caller's `store`. It gets no `background`, because we keep the response."""
    sent = parsed(model="m", background=True, store=store).for_upstream(None, in_background=False)
    assert sent == {"model": "m", "store": store, "stream": False}


def test_the_upstream_sees_none_of_our_fields() -> None:
    """The callback and the reply queue are not sent upstream. Metadata is sent without them."""
    targets = {"callback_url": "https://example.com/hook", "reply_to": "answers"}
    assert "metadata" not in parsed(metadata=targets, **targets).for_upstream(None)
    sent = parsed(metadata={**targets, "team": "a"}, **targets).for_upstream(None)
    assert sent["metadata"] == {"team": "a"}
    assert not sent.keys() & targets.keys()


def test_the_upstream_is_sent_its_own_previous_id() -> None:
    """Our id of the previous response is replaced by the upstream's, or is left out if there is no upstream id."""
    new = parsed(previous_response_id="resp_1")
    assert new.for_upstream("up_1")["previous_response_id"] == "up_1"
    assert "previous_response_id" not in new.for_upstream(None)
    assert new.body == {"previous_response_id": "resp_1"}


@pytest.mark.parametrize("include", [["reasoning.encrypted_content"], ["a.b", "reasoning.encrypted_content"]])
def test_a_caller_without_storage_gets_encrypted_reasoning(include: list[str]) -> None:
    """`store: false` goes to the upstream with this include, because a stored response has no encrypted reasoning."""
    sent = parsed(store=False, include=include).for_upstream(None)
    assert (sent["store"], sent["include"], sent["background"]) == (False, include, True)


@pytest.mark.parametrize("include", [None, [], ["a.b"], "reasoning.encrypted_content"])
def test_other_background_work_is_stored_upstream(include: object) -> None:
    """It could not be polled otherwise. Ours is deleted as the caller asks."""
    assert parsed(store=False, include=include).for_upstream(None)["store"] is True


def test_the_canonical_body_does_not_depend_on_how_it_is_written() -> None:
    """Blanks and the order of members do not count, at any depth. The order of a list and every digit do."""
    written = parse_request(b'{"model": "m", "metadata": {"b": "2", "a": "1"}, "input": [{"x": 1, "y": 2}]}')
    again = parse_request(b'{"input":[{"y":2,"x":1}],"metadata":{"a":"1","b":"2"},"model":"m"}')
    assert written.canonical_body() == again.canonical_body()
    assert parsed(input=["a", "b"]).canonical_body() != parsed(input=["b", "a"]).canonical_body()
    long = (parse_request(b'{"seed":%b}' % digits) for digits in (b"18446744073709551616", b"18446744073709551617"))
    assert len({one.canonical_body() for one in long}) == 2
