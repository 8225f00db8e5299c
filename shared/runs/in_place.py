"""Runs in place: a call or stream that waits for its end is run by the process that took its request.

It needs no message, no second process and no look at the record. Everything else lives in the `runs` queue: background
responses, whose client means to leave, and whatever has another target for its end.
"""

import asyncio
from contextlib import ExitStack
from typing import Any

from shared.core.records import Record
from shared.runs.runner import Run
from shared.runtime.ports import Ports
from shared.starts import run_submission


def admit(ports: Ports, record: Record, size: int) -> bool:
    """Return whether a new response is run in place. `size` is that of its request in bytes.

    It counts until `ports.local.leave`.
    """
    wanted = record.request
    waits = not (wanted.background or wanted.callback_url or wanted.reply_to)
    is_foreground = not ports.upstreams.of(record).upstream.is_background
    return ports.config.limits.watch and waits and is_foreground and ports.local.admit(record.id, size)


async def begin(ports: Ports, record: Record, request: dict[str, Any]) -> "tuple[Run, asyncio.Task[None]] | Record":
    """Accept a response that was admitted, and run it. Return the run and the task that drives it.

    If the request repeats another one, return the record of that response instead. Raises as `submit_run`.
    """
    with ExitStack() as unless_driven:
        unless_driven.callback(ports.local.leave, record.id)
        submitted = await run_submission.submit_run(ports, record, request, held=True, in_place=True)
        if submitted.alarm is None:
            return submitted.record
        run = Run(ports, submitted.record, submitted.alarm, request, in_place=True)
        driving = start(ports, run)
        unless_driven.pop_all()
    return run, driving


def start(ports: Ports, run: Run) -> "asyncio.Task[None]":
    """Drive a run that was admitted, which then counts until it is over."""
    driving = run.start()
    driving.add_done_callback(lambda _: ports.local.leave(run.record.id))
    return driving
