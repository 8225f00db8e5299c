"""Foreground calls that are run in place, and what their upstream may say to them."""

import asyncio

from shared.core.errors import UpstreamRefused, UpstreamUnavailable, UpstreamUncertain
from shared.core.records import Record
from tests.support.conditions import until
from tests.support.stage import Stage
from tests.support.stream_clients import Reader, streamed

AWAY = UpstreamUnavailable("ConnectError")
CUT = UpstreamUncertain("ReadError")
REFUSAL = UpstreamRefused(404, "No such model.", param="model", code="model_not_found")


def call_of(stage: Stage, key: str | None = None) -> "asyncio.Task[Record]":
    """Make a call that waits for its end."""
    return asyncio.create_task(stage.create(background=False, key=key))


def stream_of(stage: Stage) -> "asyncio.Task[Reader]":
    """Make a foreground call for a stream."""
    return asyncio.create_task(streamed(stage, background=False))


async def run_id(stage: Stage) -> str:
    """Wait until the upstream is asked, and return the id of the response."""

    async def is_asked() -> bool:
        return bool(stage.upstream.streams.runs)

    await until(is_asked)
    return stage.upstream.streams.runs[0]
