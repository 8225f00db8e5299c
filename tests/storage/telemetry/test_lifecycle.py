"""What is emitted about a change of a response, for any object of an upstream and any clocks."""

from typing import Any

import pytest

from shared.core.records import Record, RequestInfo
from shared.core.states import Status
from shared.engine import Engine
from shared.lifecycle import endings
from shared.upstreams.protocol import Progress
from tests.support.clocks import START_MS, Clock
from tests.support.log_capture import WrittenLines, log_lines
from tests.support.stage import ANN, Stage

RECORD = Record(
    "resp_0123456789abcdef0123456789abcdef",
    "ann",
    created_ms=0,
    deadline_ms=1,
    request=RequestInfo(store=True, model="m"),
)
SENTENCE = "The prompt 'geheim' is not allowed."


@pytest.mark.parametrize(
    ("answer", "emitted"),
    [
        ({"usage": {"input_tokens": 3, "output_tokens": 0}}, {"input_tokens": 3, "output_tokens": 0}),
        ({"usage": {"input_tokens": -1, "output_tokens": True}}, {}),
        ({"usage": {"input_tokens": 2**63, "output_tokens": "7"}}, {}),
        ({"usage": {"input_tokens": 1.5, "output_tokens": [7]}}, {}),
        ({"usage": [7], "model": "x" * 999}, {"response_model": "x" * 200}),
        ({"model": {"name": "geheim"}}, {"response_model": None}),
        ({"error": {"code": "rate_limit_exceeded"}}, {"error": "rate_limit_exceeded"}),
        ({"error": {"code": 429}}, {"error": "429"}),
        ({"error": {"code": SENTENCE}}, {"error": "_OTHER"}),
        ({"error": {"code": ["geheim"]}}, {"error": "server_error"}),
        ({"error": SENTENCE}, {"error": "server_error"}),
    ],
)
def test_only_names_codes_and_counts_of_an_end_are_emitted(answer: dict[str, Any], emitted: dict[str, Any]) -> None:
    """Of the upstream's final object, only the model, the token counts and the error code are emitted.

    A sentence, an object or a number that is not a count is left out.
    """
    outcome = endings.by_progress(Progress(Status.FAILED, None, {"output": [], **answer}), 1)
    attributes = endings.ending_of(RECORD, outcome).attributes
    expected = {"response_model": "m", "error": "server_error"} | emitted
    assert attributes == {name: value for name, value in expected.items() if value is not None}


async def test_an_age_is_never_negative(stage: Stage, written: WrittenLines) -> None:
    """The logged age of a response is 0 if the process that sees its end has a clock behind the creator's."""
    stage.upstream.course = [Status.COMPLETED]
    record = await stage.create()
    late = Engine(await stage.new_ports(Clock(START_MS - 5_000)))
    await late.retrieve(ANN, record.id)
    (line,) = [line for line in log_lines(written) if line["event"] == "response.completed"]
    assert line["age_ms"] == 0
