"""Agent Framework agents that call the running service, and helpers that run them in the background.

Agents have type Any here: their options are dictionaries that are typed by client, and an option that the type does not
declare is passed on too.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from agent_framework import Agent, AgentResponseUpdate, AgentSession
from agent_framework.openai import OpenAIChatClient

from tests.support.peer_processes import Json
from tests.support.service_process import Service

PAUSE_S = 0.2
RUN_S = 30
BACKGROUND: Json = {"background": True}

Reply = Any
Update = AgentResponseUpdate


@asynccontextmanager
async def agent(
    running: Service, model: str, *tools: Callable[..., object], url: str | None = None, instructions: str | None = None
) -> AsyncIterator[Any]:
    """Yield an agent whose client calls the service, or the given URL in front of it.

    The client is closed with the block.
    """
    key = running.callers["first"].api_key
    client = OpenAIChatClient(model=model, api_key=key, base_url=f"{url or running.hosts[0].url}/openai/v1")
    async with client.client:
        yield Agent(client=client, instructions=instructions, tools=list(tools))


async def polled(
    asked: Any, reply: Reply, session: AgentSession | None = None, *, headers: Json | None = None, **options: object
) -> list[Reply]:
    """Poll with these options until the token is null. Return every answer, starting with the given one."""
    answers = [reply]
    async with asyncio.timeout(RUN_S):
        while (token := answers[-1].continuation_token) is not None:
            await asyncio.sleep(PAUSE_S)
            kwargs = {"extra_headers": headers} if headers else {}
            again = {**options, "continuation_token": token}
            answers.append(await asked.run(session=session, options=again, client_kwargs=kwargs))
    return answers


async def ran(asked: Any, prompt: str, session: AgentSession | None = None, **options: object) -> Reply:
    """Run a prompt in the background, poll to the end, and return the last answer."""
    given = BACKGROUND | options
    return (await polled(asked, await asked.run(prompt, session=session, options=given), session, **given))[-1]


def received(reply: Reply) -> Json:
    """Return the response object as the service sent it."""
    response: Json = reply.raw_representation.raw_representation.to_dict()
    return response


def event_of(update: Update) -> Any:
    """Return the stream event from which an update was made."""
    chat_update: Any = update.raw_representation
    return chat_update.raw_representation
