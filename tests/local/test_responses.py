"""What a caller sees of a response, as the demo, the chaos run and the tests read it."""

from local import responses
from local.chaos.load import ledger
from local.demo import demo
from shared.core.states import Status
from tests.support import service_process


def test_what_has_ended_is_what_the_service_calls_terminal() -> None:
    """The statuses are written down once more here, because a caller knows only the API."""
    assert {str(status) for status in Status if status.is_terminal} == responses.TERMINAL


def test_the_text_is_that_of_the_output_alone() -> None:
    """Each part is a line. Reasoning, refusals, calls of tools and an output that is missing have no text."""
    output = [
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]},
        {"type": "function_call", "name": "look", "arguments": "{}"},
        {
            "type": "message",
            "content": [{"type": "output_text", "text": "One."}, {"type": "refusal", "refusal": "No."}],
        },
        {"type": "message", "content": [{"type": "output_text", "text": "Two."}]},
    ]
    assert responses.output_text({"output": output}) == "One.\nTwo."
    assert [responses.output_text(one) for one in ({}, {"output": None}, {"output": [{"content": None}]})] == [""] * 3


def test_there_is_one_of_each() -> None:
    """All take them from the same place."""
    for user in (demo, ledger, service_process):
        assert vars(user)["output_text"] is responses.output_text
        assert vars(user).get("TERMINAL", responses.TERMINAL) is responses.TERMINAL
