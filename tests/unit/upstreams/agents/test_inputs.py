"""The input of a request in Agent Framework's form, and items that an agent cannot be given."""

from typing import Any

import pytest
from agent_framework import Message

from shared.core.errors import BadRequest
from shared.upstreams.agents.inputs import input_messages, run_options

ITEMS: list[tuple[Any, list[dict[str, Any]]]] = [
    ("hi", [{"role": "user", "contents": [{"type": "text", "text": "hi"}]}]),
    (None, []),
    ([{"role": "developer", "content": "x"}], [{"role": "system", "contents": [{"type": "text", "text": "x"}]}]),
    (
        [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "a"}]}],
        [{"role": "assistant", "contents": [{"type": "text", "text": "a"}]}],
    ),
    (
        [{"type": "function_call_output", "call_id": "c", "output": "1"}],
        [{"role": "tool", "contents": [{"type": "function_result", "call_id": "c", "result": "1"}]}],
    ),
    ([{"type": "reasoning", "summary": []}], []),
    (
        [{"role": "user", "content": [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]}],
        [
            {
                "role": "user",
                "contents": [{"type": "data", "uri": "data:image/png;base64,AAAA", "media_type": "image/png"}],
            }
        ],
    ),
]


@pytest.mark.parametrize(("given", "expected"), ITEMS)
def test_the_input_becomes_messages(given: Any, expected: list[dict[str, Any]]) -> None:
    """The items of a request become messages that the framework accepts."""
    found = input_messages({"input": given})
    assert found == expected
    assert [Message(one["role"], one["contents"]).role for one in found] == [one["role"] for one in expected]


@pytest.mark.parametrize(
    "item", [{"role": "alien", "content": "x"}, {"role": "user", "content": 1}, {}, 7, {"type": "x"}]
)
def test_other_items_are_refused(item: Any) -> None:
    """An item of another kind is refused, because leaving it out would change the answer. The error names the field."""
    with pytest.raises(BadRequest) as refused:
        input_messages({"input": [item]})
    assert refused.value.param == "input"


def test_options_have_the_names_of_the_framework() -> None:
    """Options get the framework's names, and those that are null are left out."""
    assert run_options({"max_output_tokens": 5, "temperature": 0.0, "top_p": None, "seed": 1}) == {
        "max_tokens": 5,
        "temperature": 0.0,
    }
