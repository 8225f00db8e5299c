"""Starts the stack of a demo, and shows that this goes on."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from local.progress import step
from local.stack.stack import Stack, stack

PARTS = "Azurite, the model, the callback receiver and the Functions host"


@contextmanager
def opened_stack() -> Iterator[Stack]:
    """Run the stack until the end of the block. Raise PartError if a part does not start."""
    with ExitStack() as cleanup:
        with step(f"starting {PARTS}", slow_s=None):  # the demo has written a line of its own
            running = cleanup.enter_context(stack())
        yield running
