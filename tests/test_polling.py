"""Polling: what a poll costs, when the next one is, and how it ends."""

import pytest

from tests.worlds import Stage

pytestmark = pytest.mark.anyio


async def test_first(stage: Stage) -> None:
    """x."""
    made = await stage.create(callback_url="https://hooks.contoso.com/x")
    print(made, await stage.alarms(made.id), stage.sent)
    ended = await stage.finish(made.id)
    print(ended, await stage.alarms(made.id), stage.sent, stage.proxy.counts)
    await stage.ring(made.id)
    print(stage.receiver.posts, stage.upstream.starts)
