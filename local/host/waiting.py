"""Waiting for an event, with an end."""

import asyncio


async def is_set_within(event: asyncio.Event, seconds: float) -> bool:
    """Return whether the event was set before `seconds` were over."""
    try:
        async with asyncio.timeout(seconds):
            return await event.wait()
    except TimeoutError:
        return False
