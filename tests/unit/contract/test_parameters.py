"""Headers and query parameters: what is read from them, what is refused, and what is ignored."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.parameters import (
    Preference,
    check_idempotency_key,
    known_includes,
    last_seen,
    parse_moment,
    parse_preference,
)
from shared.core.errors import BadRequest
from shared.core.ids import MAX_EVENT, Cursor, token_for
from shared.core.keys import LAST_MS

ID = "resp_0123456789abcdef0123456789abcdef"
OTHER_ID = "resp_fedcba9876543210fedcba9876543210"
BARE = Cursor(ID)

# Prefer and Idempotency-Key


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
        ("wait=5, wait=9", Preference(5)),
    ],
)
def test_a_preference_is_read_or_ignored(header: str | None, expected: Preference) -> None:
    """A preference that is not understood is ignored, as RFC 7240 says. A wait is at most 60 s."""
    assert parse_preference(header) == expected


@pytest.mark.parametrize(
    ("header", "is_welcome"), [(None, False), ("foo", False), ("wait=0", True), ("respond-async", True)]
)
def test_whoever_prefers_not_to_wait_for_the_end_welcomes_an_unfinished_response(
    header: str | None, is_welcome: bool
) -> None:
    """Whoever names a time does, also of 0 s."""
    assert parse_preference(header).is_unfinished_welcome is is_welcome


@given(st.text())
def test_any_prefer_header_is_read(header: str) -> None:
    """No Prefer header raises, and the wait is always 0 to 60 s."""
    assert (parse_preference(header).wait_s or 0) in range(61)


@pytest.mark.parametrize("header", [None, "k", "!~" * 100, "a" * 255])
def test_an_idempotency_key_is_visible_ascii(header: str | None) -> None:
    """A key has 1 to 255 visible ASCII characters. The header may be absent."""
    assert check_idempotency_key(header) == header


@pytest.mark.parametrize("header", ["", "a" * 256, "a b", "a\n", "ä", "\x7f"])
def test_any_other_idempotency_key_is_refused(header: str) -> None:
    """The error for any other key names the header."""
    with pytest.raises(BadRequest) as refused:
        check_idempotency_key(header)
    assert refused.value.param == "Idempotency-Key"


# The last event that a reader has seen


def test_without_a_position_nothing_is_seen() -> None:
    """An id, or a token without an event, names no event. An empty parameter or header is an absent one."""
    assert last_seen(BARE, None, None) == last_seen(BARE, "", "") == -1


def test_a_token_of_an_event_in_place_of_the_id_is_a_position() -> None:
    """The first event has the number 0, which is not the same as none."""
    assert last_seen(Cursor(ID, 0), None, None) == 0
    assert last_seen(Cursor(ID, 7), "", "") == 7


def test_the_query_parameter_precedes_the_header_and_the_header_the_token() -> None:
    """A client that reconnects sends its latest position in `Last-Event-ID`, while its URL stays the same."""
    assert last_seen(Cursor(ID, 7), "1", "2") == 1
    assert last_seen(Cursor(ID, 7), None, "2") == 2


@given(st.integers(0, MAX_EVENT), st.sampled_from(["", " ", "\t"]))
def test_a_number_and_a_token_name_the_same_event(number: int, space: str) -> None:
    """Both forms are accepted in both places, also between spaces."""
    for text in (str(number), token_for(ID, number)):
        assert last_seen(BARE, f"{space}{text}{space}", None) == number
        assert last_seen(BARE, None, f"{space}{text}{space}") == number
    assert last_seen(Cursor(ID, number), None, None) == number


@pytest.mark.parametrize("text", [str(MAX_EVENT), str(MAX_EVENT + 1), "9" * 20, "0" * 10 + str(MAX_EVENT)])
def test_a_number_above_every_event_is_the_largest_one(text: str) -> None:
    """A row key has ten digits for the number of an event, so no stream has a larger one."""
    assert last_seen(BARE, text, None) == MAX_EVENT


NOT_EVENTS = ["-1", "+1", "1.0", "1e3", "1,2", "\u0663", "9" * 21, " ", "null", "event", ID, token_for(ID), "ct_AQ"]


@pytest.mark.parametrize("text", NOT_EVENTS)
def test_any_other_position_is_refused(text: str) -> None:
    """A text that is neither a number nor the token of an event is refused. The error names its place."""
    for param, given_texts in {"starting_after": (text, "1"), "Last-Event-ID": (None, text)}.items():
        with pytest.raises(BadRequest, match="sequence number") as refused:
            last_seen(Cursor(ID, 7), *given_texts)
        assert (refused.value.param, refused.value.code) == (param, "invalid_value")


def test_a_token_of_another_response_is_refused() -> None:
    """The number in such a token counts the events of another stream."""
    token = token_for(OTHER_ID, 3)
    for param, given_texts in {"starting_after": (token, None), "Last-Event-ID": (None, token)}.items():
        with pytest.raises(BadRequest, match="another response") as refused:
            last_seen(BARE, *given_texts)
        assert (refused.value.param, refused.value.code) == (param, "invalid_value")


@given(st.text(), st.text())
def test_any_position_is_a_number_or_is_refused(starting_after: str, last_event_id: str) -> None:
    """No text raises anything but a BadRequest."""
    try:
        assert -1 <= last_seen(BARE, starting_after, last_event_id) <= MAX_EVENT
    except BadRequest:
        return


# Times


@pytest.mark.parametrize(
    ("text", "moment_ms"),
    [
        ("1800000000", 1_800_000_000_000),
        ("1800000000.25", 1_800_000_000_250),
        ("2027-01-15T08:00:00Z", 1_800_000_000_000),
        ("2027-01-15T09:00:00+01:00", 1_800_000_000_000),
        ("2027-01-15T09:00:00 01:00", 1_800_000_000_000),  # a plus sign that was not percent-encoded
        ("0", 0),
        ("1970-01-01T00:00:00+14:00", 0),
    ],
)
def test_a_time_is_unix_seconds_or_iso_8601(text: str, moment_ms: int) -> None:
    """A time is given in unix seconds, or in ISO 8601 with a time zone."""
    assert parse_moment("since", text) == moment_ms


@given(st.integers(1_100_000_000_000, 2_100_000_000_000))
def test_a_time_is_exact_to_the_millisecond(moment_ms: int) -> None:
    """A time from 2004 to 2036 is read without a rounding error in both forms."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=moment_ms)
    for text in (f"{moment_ms // 1000}.{moment_ms % 1000:03d}", moment.isoformat(timespec="milliseconds")):
        assert parse_moment("since", text) == moment_ms


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "-1",
        "1e9",
        "12345678901",
        "2027-01-15",
        "2027-01-15T08:00:00",
        "0001-01-01T00:00:00Z",
        "2287-01-01T00:00:00Z",
    ],
)
def test_any_other_time_is_refused(text: str) -> None:
    """The error for any other time names the parameter and gives an example."""
    with pytest.raises(BadRequest, match="ISO 8601") as refused:
        parse_moment("since", text)
    assert refused.value.param == "since"


@given(st.text())
def test_any_text_is_a_time_or_is_refused(text: str) -> None:
    """No text raises anything but a BadRequest."""
    try:
        assert 0 <= parse_moment("since", text) <= LAST_MS
    except BadRequest:
        return


# include


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (None, ()),
        ("a.b", ()),
        (["a.b", "c", "a.b"], ("a.b", "c")),
        (["", "a b", "x" * 101, "é", 7, None, "message.input_image.image_url"], ("message.input_image.image_url",)),
        ([f"x{n}" for n in range(30)], tuple(f"x{n}" for n in range(20))),
    ],
)
def test_an_include_is_a_list_of_names(given_: object, expected: tuple[str, ...]) -> None:
    """What cannot be part of a query is left out here. The upstream sees the whole list in the create."""
    assert known_includes(given_) == expected
