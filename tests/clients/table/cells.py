"""What a client shows for a case: what the tests expect of it, and what docs/clients.md says."""

import re
from dataclasses import dataclass
from enum import StrEnum

from tests.clients.drivers.driving import CASES, NOT_OFFERED, PLACE, Shown, get_weather

UNFINISHED = {"queued", "in_progress"}
REASON = "Simulated failure, as the model "  # the upstream's own message begins with it
# A client that asks for a value, and not for a text, gets a part of the prompt.
_VALUE = re.compile(r"Whales sing [0-9]+\.")
_ENDING = r"\n1\. Whales sing [0-9]+\."
_ENDINGS = {"tool": rf"\n1\. {get_weather(f'(Current Task: )?{PLACE}')}", "structured": r"\.\.\."}


class Text(StrEnum):
    """How much of the answer's text a client showed, as the page says it."""

    WHOLE = "the whole answer"
    PART = "part of the text"
    NONE = "no text"
    OTHER = "the message of the error as the text"


@dataclass(frozen=True)
class Cell:
    """What is expected: the text, what the client calls the state, and a part of its exception, or None for none."""

    text: Text
    state: str | None = None
    error: str | None = None

    def agrees(self, case: str, shown: Shown) -> bool:
        """Return whether a client showed this. Unfinished states are the same, because work starts at any time."""
        states = {self.state, shown.status}
        same_state = len(states) == 1 or states == UNFINISHED
        raised = (shown.error is None) if self.error is None else (self.error in (shown.error or ""))
        return same_state and raised and self.text is text_of(case, shown.text)

    @property
    def words(self) -> str:
        """The words of the page."""
        if self.error == NOT_OFFERED:
            return "not offered"
        if self.error is not None:
            return "an exception with the reason" if self.error == REASON else "an exception"
        if self.text is Text.WHOLE:
            return self.text
        return f"{self.text}, {f'`{self.state}`' if self.state else '**no sign**'}"


def text_of(case: str, text: str) -> Text:
    """Return how much of the answer to a case a text is."""
    begins, ends = f"This answer is simulated by {CASES[case]['model']}", _ENDINGS.get(case, _ENDING)
    if not text:
        return Text.NONE
    if text.startswith("Whales"):
        return Text.WHOLE if _VALUE.fullmatch(text) else Text.PART
    if not (text.startswith(begins) or begins.startswith(text)) or text.count("This answer") > 1:
        return Text.OTHER
    return Text.WHOLE if re.search(rf"{ends}\Z", text) else Text.PART


def whole(state: str | None = None) -> Cell:
    """Return the cell of a client that gets all of the answer."""
    return Cell(Text.WHOLE, state)


def part(state: str | None = None) -> Cell:
    """Return the cell of a client that shows some of the text."""
    return Cell(Text.PART, state)


def nothing(state: str | None = None) -> Cell:
    """Return the cell of a client that shows an empty answer."""
    return Cell(Text.NONE, state)


def raises(error: str = REASON, text: Text = Text.NONE) -> Cell:
    """Return the cell of a client that raises, after it has shown so much of the text."""
    return Cell(text, None, error)


def message(state: str) -> Cell:
    """Return the cell of a client that shows an error as the text of an answer."""
    return Cell(Text.OTHER, state)


def lacks() -> Cell:
    """Return the cell of a client that has no such call."""
    return raises(NOT_OFFERED)
