"""Shows for how long an installer has been at work. It has no library to use, because nothing is installed yet."""

import os
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

TICK_S = 1.0
_REWRITE = "\r\x1b[K"


@contextmanager
def ticking(line: str, out: TextIO | None = None, tick_s: float = TICK_S) -> Iterator[None]:
    """Write a line, and on a terminal count the seconds behind it until the end of the block.

    A file and CI get the line once. `tick_s` is the time between two counts, in seconds.
    """
    out = out or sys.stdout
    if not out.isatty() or os.environ.get("CI") == "true":
        print(line, file=out, flush=True)
        yield
        return
    ended, began = threading.Event(), time.monotonic()
    counting = threading.Thread(target=_count, args=(line, out, tick_s, began, ended), daemon=True)
    counting.start()
    try:
        yield
    finally:
        ended.set()
        counting.join()
        out.write("\n")
        out.flush()


def _count(line: str, out: TextIO, tick_s: float, began: float, ended: threading.Event) -> None:
    while True:
        out.write(f"{_REWRITE}{line}, {time.monotonic() - began:.0f} s")
        out.flush()
        if ended.wait(tick_s):
            return
