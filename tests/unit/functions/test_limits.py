"""Open answers at the edge: each counts until it is over, however it ends."""

import gc
from collections.abc import AsyncIterator

from azurefunctions.extensions.http.fastapi import Response

from functions.answers import LateAnswer
from functions.limits import OpenAnswer


class Ends:
    """Counts how often an answer was said to be over."""

    def __init__(self) -> None:
        self.count = 0

    def __call__(self) -> None:
        """Count one."""
        self.count += 1


async def body() -> AsyncIterator[bytes]:
    """Yield one piece."""
    yield b"{}"


def test_an_answer_that_is_whole_is_over_with_its_call() -> None:
    """The block that made it ends it."""
    ended = Ends()
    opened = OpenAnswer(ended)
    answer = Response(b"{}")
    assert opened.until_sent(answer) is answer
    assert (opened.goes_on, ended.count) == (False, 0)


def test_an_answer_that_goes_on_is_over_when_it_is_sent() -> None:
    """Its own contexts end then."""
    ended = Ends()
    opened = OpenAnswer(ended)
    answer = LateAnswer(body())
    opened.until_sent(answer)
    assert (opened.goes_on, ended.count) == (True, 0)
    answer.until_sent.close()
    assert ended.count == 1


def test_an_answer_that_is_dropped_unsent_is_over() -> None:
    """The platform may lose its connection before it sends a byte. A caller would else never get its place back."""
    ended = Ends()
    opened = OpenAnswer(ended)
    opened.until_sent(LateAnswer(body()))
    gc.collect()
    assert ended.count == 1
