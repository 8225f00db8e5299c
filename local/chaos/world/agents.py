"""The agents of a run's hosts: a real agent of Agent Framework whose chat client calls no model."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

from agent_framework import Agent, BaseChatClient, ChatResponse, ChatResponseUpdate, Content, Message

from local.chaos.world.clerk import words_for

WORD_S = 0.15  # so a report takes about as long as a kill and a start


class ClerkChat(BaseChatClient[Any]):
    """A chat client that says one word after the other. It has no background mode, so a process holds its run."""

    def _inner_get_response(self, *, messages: Sequence[Message], stream: bool, **_: Any) -> Any:
        words = words_for(messages[-1].text)
        return self._build_response_stream(_updates(words)) if stream else _response(words)


async def _response(words: Sequence[str]) -> ChatResponse[Any]:
    await asyncio.sleep(WORD_S * len(words))
    return ChatResponse(messages=[Message("assistant", [Content.from_text("".join(words))])])


async def _updates(words: Sequence[str]) -> AsyncIterator[ChatResponseUpdate]:
    for word in words:
        await asyncio.sleep(WORD_S)
        yield ChatResponseUpdate(role="assistant", contents=[Content.from_text(word)])


def clerk() -> Agent[Any]:
    """Return the agent that each run gets."""
    return Agent(client=ClerkChat())


AGENTS: Mapping[str, Callable[[], Agent[Any]]] = {"clerk": clerk}
