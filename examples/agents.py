"""Two agents for `AGENTS_MODULE=examples.agents`: one that only answers, one with tools.

pip install -r requirements.txt -r requirements-agents.txt. The local service has these packages. Serve both agents by
`AGENTS_MODULE=examples.agents make start`.

Agent Framework is imported in the factories, because functions that answer HTTP requests need only the names. All runs
of a process may share a chat client. An agent belongs to one run, so each factory makes a new one.
"""

import os
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from agent_framework import Agent
    from agent_framework.openai import OpenAIChatClient


@cache
def chat_client(model: str) -> "OpenAIChatClient[Any]":
    """Return the chat client of a model, on the same upstream as this service."""
    from agent_framework.openai import OpenAIChatClient  # noqa: PLC0415

    base_url, api_key = os.environ["UPSTREAM_BASE_URL"], os.environ.get("UPSTREAM_API_KEY", "none")
    return OpenAIChatClient(model=model, base_url=base_url, api_key=api_key)


def editor() -> "Agent[Any]":
    """Return an agent that answers without tools."""
    from agent_framework import Agent  # noqa: PLC0415

    model = os.environ.get("EDITOR_MODEL", "sim-2s")
    return Agent(client=chat_client(model), name="editor", instructions="Shorten the text to its three main points.")


def dispatcher() -> "Agent[Any]":
    """Return an agent that looks things up before it answers."""
    from agent_framework import Agent  # noqa: PLC0415

    model = os.environ.get("DISPATCHER_MODEL", "sim-tool")
    instructions = "Say when the parcel arrives. Look it up."
    return Agent(client=chat_client(model), name="dispatcher", instructions=instructions, tools=[track, time_now])


def track(parcel: str) -> str:
    """Tell where a parcel is."""
    return f"Parcel {parcel} left the depot and is on the van."


def time_now() -> str:
    """Tell what time it is."""
    return datetime.now(UTC).isoformat(timespec="minutes")


AGENTS: Mapping[str, Callable[[], "Agent[Any]"]] = {"editor": editor, "dispatcher": dispatcher}
