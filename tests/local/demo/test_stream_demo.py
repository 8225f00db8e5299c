"""The stream demo: what its transcript keeps, and how its screen shows it."""

from io import StringIO
from typing import Any

import pytest

from local.demo.screen import Screen
from local.demo.transcript import Disorder, Transcript


def _event(number: int, kind: str = "response.output_item.added", **fields: Any) -> dict[str, Any]:
    return {"type": kind, "sequence_number": number, "continuation_token": f"token-{number}", **fields}


def _delta(number: int, delta: str, *, item: int = 0, part: int = 0) -> dict[str, Any]:
    return _event(number, "response.output_text.delta", output_index=item, content_index=part, delta=delta)


def _stream(*events: dict[str, Any]) -> Transcript:
    transcript = Transcript()
    for event in events:
        transcript.take(event)
    return transcript


def test_a_transcript_records_where_to_resume() -> None:
    """The first event sets the response id, and each event the number and token.

    The text of a delta is returned at once.
    """
    transcript = Transcript()
    assert transcript.take(_event(0, "response.created", response={"id": "resp_a"})) == ""
    assert transcript.take(_delta(3, "One ")) == "One "
    assert (transcript.response_id, transcript.last, transcript.token) == ("resp_a", 3, "token-3")
    assert (transcript.events, transcript.deltas, transcript.has_ended) == (2, 1, False)


def test_a_transcript_ends_with_the_event_that_has_no_token() -> None:
    """A null token means that there is nothing to resume."""
    assert _stream(_delta(0, "One"), _event(1) | {"continuation_token": None}).has_ended


@pytest.mark.parametrize("number", [0, 4, 5])
def test_an_event_number_that_has_not_increased_is_refused(number: int) -> None:
    """Neither a repeated event nor an older one is accepted."""
    transcript = _stream(_delta(5, "One"))
    with pytest.raises(Disorder, match=f"event {number} came after event 5"):
        transcript.take(_delta(number, "Two"))
    assert (transcript.text, transcript.last) == ("One", 5)


def test_the_text_is_joined_part_by_part() -> None:
    """Parts are in the order of the output, and each starts on a new line, as in the stored text."""
    parts = _stream(_delta(0, "Two", item=1), _delta(1, "On"), _delta(2, "Half", part=1), _delta(3, "e"))
    assert parts.text == "One\nHalf\nTwo"


def test_a_restart_drops_the_text() -> None:
    """A second `response.in_progress` drops the text. The first one has nothing to drop."""
    progress = "response.in_progress"
    transcript = _stream(_event(0, progress), _delta(1, "On"), _event(2, progress), _delta(3, "One"))
    assert (transcript.text, transcript.restarts) == ("One", 1)


class _Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def _shown(out: StringIO) -> str:
    screen = Screen(out)
    screen.text("One ")
    screen.text("")
    screen.notice("cut")
    screen.text("two\n")
    screen.passing("waiting, 1 s")
    screen.passing("waiting, 2 s")
    screen.text("three")
    screen.blank()
    return out.getvalue()


def test_notices_are_on_separate_lines() -> None:
    """Text continues below a notice. In a file, a passing notice is written like any other."""
    assert _shown(StringIO()) == "One \ncut\ntwo\nwaiting, 1 s\nwaiting, 2 s\nthree\n\n"


def test_a_terminal_shows_notices_dim_and_overwrites_passing_ones() -> None:
    """A passing notice is replaced by the next one or by the text that follows. Text is never dim."""
    erase, dim, plain = "\r\x1b[K", "\x1b[2m", "\x1b[0m"
    waits = f"{dim}waiting, 1 s{plain}{erase}{dim}waiting, 2 s{plain}{erase}"
    assert _shown(_Terminal()) == f"One \n{dim}cut{plain}\ntwo\n{waits}three\n\n"
