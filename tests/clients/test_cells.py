"""The table tells a whole answer from a part of it, and a state or an exception from none."""

import pytest

from tests.clients.drivers.driving import NOT_OFFERED, Shown
from tests.clients.table.cells import Text, lacks, nothing, part, raises, text_of, whole

WHOLE = "This answer is simulated by sim-1s: an outline of what it was given, 3 words.\n1. Whales sing 12."


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        (WHOLE, Text.WHOLE),
        (WHOLE[:-1], Text.PART),
        (WHOLE[:5], Text.PART),
        ("", Text.NONE),
        (WHOLE + WHOLE, Text.OTHER),
        ("Request timed out.", Text.OTHER),
        ("Whales sing 12.", Text.WHOLE),
        ("Whales sin", Text.PART),
    ],
)
def test_a_text_is_whole_only_from_its_beginning_to_its_end(text: str, kind: Text) -> None:
    """A text that is there twice, and an error's message, are neither whole nor a part."""
    assert text_of("whole", text) is kind


def test_a_cell_agrees_only_with_what_it_says() -> None:
    """Text, state and exception are each compared."""
    assert whole("stop").agrees("whole", Shown(WHOLE, "stop"))
    assert not whole("stop").agrees("whole", Shown(WHOLE, "length"))
    assert not whole("stop").agrees("whole", Shown(WHOLE[:-1], "stop"))
    assert not whole("stop").agrees("whole", Shown(WHOLE, "stop", "Error: late"))
    assert raises("late").agrees("failed", Shown("", None, "Error: late"))
    assert not raises("late").agrees("failed", Shown("", None, "Error: early"))
    assert not raises("late").agrees("failed", Shown(""))
    assert not nothing().agrees("failed", Shown("", "failed"))


def test_all_unfinished_states_are_one() -> None:
    """Background work may have begun when its first answer is made."""
    assert nothing("queued").agrees("queued", Shown("", "in_progress"))
    assert not nothing("queued").agrees("queued", Shown("", "completed"))


def test_a_cell_has_the_words_of_the_page() -> None:
    """They name the text, and the state or its absence."""
    assert part("length").words == "part of the text, `length`"
    assert nothing().words == "no text, **no sign**"
    assert (raises().words, raises("else").words) == ("an exception with the reason", "an exception")
    assert (whole("stop").words, lacks().words) == ("the whole answer", "not offered")
    assert lacks().error == NOT_OFFERED
