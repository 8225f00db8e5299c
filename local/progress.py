"""Shows that long work goes on: on a terminal a line that moves, elsewhere plain lines."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Timer

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

SLOW_S = 5.0


@contextmanager
def step(what: str, console: Console | None = None, slow_s: float | None = SLOW_S) -> Iterator[None]:
    """Show `what` while the block runs, on standard error unless a console is given.

    A terminal shows it with the elapsed time, and no trace of it stays. A file or CI gets one line, and only if the
    block takes longer than `slow_s` seconds, or none at all if that is None.
    """
    console = console or Console(stderr=True)
    if console.is_terminal and os.environ.get("CI") != "true":
        yield from _moving(what, console)
    elif slow_s is None:
        yield
    else:
        yield from _plain(what, console, slow_s)


def _moving(what: str, console: Console) -> Iterator[None]:
    columns = (SpinnerColumn(), TextColumn("{task.description}", markup=False), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        progress.add_task(what, total=None)
        yield


def _plain(what: str, console: Console, slow_s: float) -> Iterator[None]:
    def say() -> None:
        console.print(f"{what} ...", markup=False, highlight=False, soft_wrap=True)

    timer = Timer(slow_s, say)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
