"""A refusal as the caller reads it: the ids in its message are ours."""

from dataclasses import replace

import pytest

from shared.core.errors import UpstreamRefused
from shared.core.records import Record, RequestInfo
from shared.lifecycle import endings

NOW_MS = 1_800_000_005_000
NEW = Record(
    "resp_0123456789abcdef0123456789abcdef",
    "ann",
    created_ms=NOW_MS - 5_000,
    deadline_ms=NOW_MS + 60_000,
    request=RequestInfo(store=True, model="m"),
)


def test_a_refusal_shows_our_id_of_the_previous_response() -> None:
    """The upstream names its own id, which the caller has never seen."""
    record = replace(NEW, request=replace(NEW.request, previous_id="resp_1"))
    refusal = UpstreamRefused(400, "Response up_0 not found: up_0.", param="previous_response_id", code="not_found")
    changed = endings.with_our_ids(refusal, record, {"previous_response_id": "up_0"}, frozenset())
    assert (changed.message, changed.code) == ("Response resp_1 not found: resp_1.", "not_found")
    assert (changed.status, changed.param) == (400, "previous_response_id")


@pytest.mark.parametrize(
    ("previous_id", "theirs"), [(None, None), (None, "up_0"), ("resp_1", None), ("resp_1", ""), ("resp_1", "up_1")]
)
def test_any_other_refusal_keeps_its_message(previous_id: str | None, theirs: str | None) -> None:
    """If the request has no previous response, here or upstream, there is no id to replace."""
    record = replace(NEW, request=replace(NEW.request, previous_id=previous_id))
    refusal = UpstreamRefused(400, "Response up_0 not found.")
    assert (
        endings.with_our_ids(refusal, record, {"previous_response_id": theirs}, frozenset()).message
        == "Response up_0 not found."
    )
    assert endings.with_our_ids(refusal, record, {}, frozenset()).message == "Response up_0 not found."


def test_a_refusal_repeats_no_credential_in_any_of_its_texts() -> None:
    """Callers get its message, its code, its parameter and its type."""
    key = "geheim-0123456789"
    refusal = UpstreamRefused(400, f"no {key}", param=f"tools.{key}", code=f"bad {key}", kind=f"of {key}")
    shown = endings.with_our_ids(refusal, NEW, {}, frozenset({key}))
    assert (shown.message, shown.param, shown.code, shown.type) == ("no ***", "tools.***", "bad ***", "of ***")
