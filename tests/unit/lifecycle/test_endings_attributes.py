"""The attributes of an ending: what telemetry gets of the upstream's final object."""

from typing import Any

import pytest

from shared.core.records import Record, RequestInfo
from shared.core.states import Status
from shared.lifecycle import endings
from shared.upstreams.protocol import Progress

NOW_MS = 1_800_000_005_000
NEW = Record(
    "resp_0123456789abcdef0123456789abcdef",
    "ann",
    created_ms=NOW_MS - 5_000,
    deadline_ms=NOW_MS + 60_000,
    request=RequestInfo(store=True, model="m"),
)
SENTENCE = "The prompt 'geheim' is not allowed."


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"usage": {"input_tokens": 3, "output_tokens": 0}}, {"input_tokens": 3, "output_tokens": 0}),
        ({"usage": {"input_tokens": -1, "output_tokens": True}}, {}),
        ({"usage": {"input_tokens": 10**12, "output_tokens": 10**12 + 1}}, {"input_tokens": 10**12}),
        ({"usage": {"input_tokens": 1.5, "output_tokens": [7]}}, {}),
        ({"usage": [7], "model": "x" * 999}, {"response_model": "x" * 200}),
        ({"model": {"name": "geheim"}}, {"response_model": None}),
        ({"error": {"code": "rate_limit_exceeded"}}, {"error": "rate_limit_exceeded"}),
        ({"error": {"code": 429}}, {"error": "429"}),
        ({"error": {"code": "x" * 80}}, {"error": "x" * 80}),
        ({"error": {"code": "x" * 81}}, {"error": "_OTHER"}),
        ({"error": {"code": SENTENCE}}, {"error": "_OTHER"}),
        ({"error": {"code": ["geheim"]}}, {"error": "server_error"}),
        ({"error": SENTENCE}, {"error": "server_error"}),
    ],
)
def test_attributes_are_names_codes_and_counts(answer: dict[str, Any], expected: dict[str, Any]) -> None:
    """Of the upstream's object, only the model, the token counts and the error code go to telemetry.

    A sentence, an object or a number that is not a count is left out.
    """
    outcome = endings.by_progress(Progress(Status.FAILED, None, {"output": [], **answer}), NOW_MS)
    found = {"response_model": "m", "error": "server_error"} | expected
    assert endings.ending_of(NEW, outcome).attributes == {
        name: value for name, value in found.items() if value is not None
    }
