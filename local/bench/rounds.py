"""Asks a question of every contender in turn, so that a slow minute of the machine does not fall on one of them."""

import sys
from collections.abc import Sequence

import httpx

from local.bench.loads.sizes import Sizes
from local.bench.loads.target import Contender, LacksError
from local.bench.plots.pages import Column
from local.bench.questions import Question
from local.stack.process import PartError

FAILURES = (PartError, OSError, httpx.HTTPError, ExceptionGroup)
"""What a run raises when its system does not start, does not answer, or answers what no client understands."""


def asked(question: Question, contenders: Sequence[Contender], rounds: int, sizes: Sizes) -> list[Column]:
    """Return a column for each contender that is asked the question.

    Every second round goes through them backwards. A contender whose run fails is not asked again, and its column says
    why. The other contenders are still asked.
    """
    columns = {one.name: Column(one.name) for one in contenders if question.is_for(one)}
    for number in range(rounds):
        for contender in contenders if number % 2 == 0 else reversed(contenders):
            if (column := columns.get(contender.name)) and column.trouble is None:
                _ask(question, contender, sizes, column)
    return list(columns.values())


def _ask(question: Question, contender: Contender, sizes: Sizes, column: Column) -> None:
    print(f"... {question.name}: {contender.name}", file=sys.stderr, flush=True)
    try:
        found = question.measure(contender, sizes)
    except FAILURES as error:
        column.rounds.clear()
        column.lacks = isinstance(error, LacksError)
        column.trouble = str(error) if isinstance(error, PartError) else f"{type(error).__name__}: {error}"
    else:
        column.rounds += [found] if found is not None else []
