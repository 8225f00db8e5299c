"""CrewAI's LLM with `api="responses"`. It returns a text, and shows no state."""

from typing import Any

from crewai import LLM, Agent
from crewai.tools import tool as crewai_tool

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather


def llm(call: Call, **fields: Any) -> Any:
    """Return a model."""
    return LLM(model=f"openai/{call.model}", api="responses", **call.options, **fields)


def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields say."""
    return Shown(llm(call, **fields).call(PROMPT))


def queued(call: Call) -> Shown:
    """Start background work."""
    return answer(call, additional_params={"background": True})


def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    return answer(call, stream=True)


def tool(call: Call) -> Shown:
    """Let an agent run its tool."""
    weather = crewai_tool("get_weather")(get_weather)
    agent = Agent(role="tester", goal="Answer.", backstory="None.", llm=llm(call), tools=[weather], verbose=False)
    return Shown(agent.kickoff(PLACE).raw)


if __name__ == "__main__":
    drive("crewai", answer=answer, stream=stream, tool=tool, queued=queued)
