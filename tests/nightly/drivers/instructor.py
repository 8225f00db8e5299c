"""Instructor, whose answer is a value: the model calls a function with it. It shows no state, and runs no tools."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import instructor
import openai
from pydantic import BaseModel

from tests.clients.drivers.driving import PROMPT, Call, Shown, drive

QUESTION: Any = [{"role": "user", "content": PROMPT}]


class Headline(BaseModel):
    """The type of the value."""

    headline: str


@contextmanager
def client(call: Call) -> Iterator[Any]:
    """Yield a client."""
    with openai.OpenAI(**call.options) as sdk:
        yield instructor.from_openai(sdk, mode=instructor.Mode.RESPONSES_TOOLS)


def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields say."""
    with client(call) as asked:
        return Shown(asked.create(model=call.model, messages=QUESTION, response_model=Headline, **fields).headline)


def queued(call: Call) -> Shown:
    """Start background work."""
    return answer(call, background=True)


def stream(call: Call) -> Shown:
    """Read a stream of partial values to its end."""
    with client(call) as asked:
        for value in asked.create_partial(model=call.model, messages=QUESTION, response_model=Headline):
            call.heard[:] = [value.headline or ""]
    return Shown("".join(call.heard))


if __name__ == "__main__":
    drive("instructor", answer=answer, stream=stream, queued=queued)
