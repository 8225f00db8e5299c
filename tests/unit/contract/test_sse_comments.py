"""Comments of an event stream."""

from collections.abc import AsyncIterator

from shared.contract.sse import comment, frame, messages


async def test_readers_ignore_a_comment() -> None:
    """It is one line, so that it ends no event that is being read."""
    assert comment(b'waiting {"reason":"storage"}') == b': waiting {"reason":"storage"}\n'

    async def chunks() -> AsyncIterator[bytes]:
        yield comment(b"one")
        yield frame("kind", b"{}")
        yield comment(b"two")

    assert [message.data async for message in messages(chunks(), 100)] == ["{}"]
