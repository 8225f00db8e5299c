"""What the simulated model answers, so that a caller knows the right text and status before it asks."""

from collections.abc import Sequence

from local.chaos.plan import Call, Style
from local.chaos.world.clerk import words_for
from local.chaos.world.site import GATED_MODELS
from local.model.answer import text_answer
from local.model.behaviour import Status, behaviour_of
from local.model.conversation import Item, input_items


def question(call: Call, turn: int = 0) -> str:
    """Return the input of a call, which differs from that of every other call."""
    return f"Request {call.number} of a storm, turn {turn}. It asks for an outline. Nothing in it may be lost."


def expected_status(call: Call) -> str | None:
    """Return the status that the response must end with, or None if the moment of a cancellation decides."""
    if call.style is Style.AGENT:
        return "completed"
    behaviour = behaviour_of(GATED_MODELS.get(call.model, call.model))
    return None if call.style is Style.CANCELLED or behaviour is None else str(behaviour.ending)


def expected_text(call: Call, turn: int = 0) -> str | None:
    """Return the text that the response must end with, or None if its status is not known before."""
    status = expected_status(call)
    if status in (None, Status.FAILED):
        return None
    if call.style is Style.AGENT:
        return "".join(words_for(question(call, turn)))
    first = turn if call.style is Style.CONVERSATION else 0  # the simulated model keeps no items of a conversation
    given = [input_items(question(call, one), "x") for one in range(first, turn + 1)]
    history: Sequence[Item] = [item for items in given[:-1] for item in items]
    text = text_answer(GATED_MODELS.get(call.model, call.model), None, history, given[-1])
    return text[: len(text) // 2] if status == Status.INCOMPLETE else text
