"""The answer that carries an event stream, and the faults that disturb it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from local.model.errors import ApiError
from local.model.events import Event, broken_frame, frame
from local.model.faults import Faults
from local.model.work import Work

HEADERS = {"cache-control": "no-cache", "x-accel-buffering": "no"}


class EventStream(StreamingResponse):
    """A stream of frames. The context manager `around` is open while its client is connected."""

    def __init__(
        self, frames: AsyncIterator[bytes], headers: dict[str, str], around: AbstractContextManager[None]
    ) -> None:
        super().__init__(frames, headers=HEADERS | headers, media_type="text/event-stream; charset=utf-8")
        self._around = around

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream. Return when all is sent or the client has disconnected."""
        with self._around:
            await super().__call__(scope, receive, send)


async def frames(
    events: AsyncIterator[Event], response_id: str, faults: Faults, cut: Callable[[], None]
) -> AsyncIterator[bytes]:
    """Yield the frames of one connection until a fault ends it. `cut` closes the connection."""
    sent = 0
    while True:
        if faults.drops(response_id, sent):
            if faults.switches.stream_cut_inside and (event := await anext(events, None)):
                yield _half(frame(event))
            cut()
            await _client_gone()
        if faults.stalls(response_id, sent):
            await _client_gone()
        if (event := await anext(events, None)) is None:
            return
        yield broken_frame(event) if faults.malforms(response_id, event["sequence_number"]) else frame(event)
        sent += 1


def _half(whole: bytes) -> bytes:
    return whole[: len(whole) // 2]


async def _client_gone() -> None:
    """Wait to be cancelled, which happens when the connection of a stream closes."""
    await asyncio.Event().wait()


def check_replayable(work: Work, age_s: float, faults: Faults) -> None:
    """Raise the contract's 400 if the response cannot be streamed at this age, in seconds."""
    missing = None if work.streamed else "stream"
    missing = missing if work.background and not faults.switches.no_background else "background"
    if missing is not None:
        message = f"This response cannot be streamed because it was not created with {missing}=true."
        raise ApiError(400, message, param="stream")
    window_s = faults.switches.replay_window_s
    if window_s is not None and age_s > window_s:
        message = f"This response can no longer be streamed because it is more than {_words(window_s)} old."
        raise ApiError(400, message, param="stream")


def _words(duration_s: float) -> str:
    return f"{duration_s / 60:g} minutes" if duration_s >= 60 else f"{duration_s:g} seconds"
