"""Agno with its OpenAIResponses model. It polls background work by itself, and shows an error as a text and a state."""

from collections.abc import Callable
from typing import Any

from agno.agent import Agent, RunContentEvent, RunErrorEvent
from agno.models.openai import OpenAIResponses

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather


def agent(call: Call, *tools: Callable[..., object], **fields: Any) -> Any:
    """Return an agent."""
    return Agent(model=OpenAIResponses(id=call.model, **call.options, **fields), tools=list(tools), telemetry=False)


def shown(run: Any) -> Shown:
    """Return what a run shows."""
    return Shown(run.content or "", run.status.value)


def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields say."""
    return shown(agent(call, **fields).run(PROMPT))


def queued(call: Call) -> Shown:
    """Start background work."""
    return answer(call, background=True, background_poll_interval=0.5)


def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    run: Any = None
    for run in agent(call).run(PROMPT, stream=True, yield_run_output=True):
        if isinstance(run, RunContentEvent):
            call.heard.append(run.content or "")
        if isinstance(run, RunErrorEvent):
            return Shown("".join(call.heard), run.event)
    return shown(run)


def tool(call: Call) -> Shown:
    """Let the agent run its tool."""
    return shown(agent(call, get_weather).run(PLACE))


if __name__ == "__main__":
    drive("agno", answer=answer, stream=stream, tool=tool, queued=queued)
