"""Reports what LangChain's ChatOpenAI makes of our answers, as one JSON object on standard output.

    python langchain_report.py BASE_URL KEY [impatient]

With `impatient`, it makes one call that takes longer than the client's time-out between two reads. It runs in a
separate environment. test_frameworks.py checks the report.
"""

import json
import sys
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any, TypeAlias

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

Json: TypeAlias = dict[str, Any]

PROMPT = "Whales sing."
PAUSE_S = 0.2


class Headline(BaseModel):
    """A type of structured output."""

    headline: str


def get_weather(place: str) -> str:
    """Return the weather of a place."""
    return f"It snows in {place}."


def main(base_url: str, key: str, only: str = "") -> None:
    """Print the report."""

    def chat(model: str, **fields: Any) -> Any:
        given = {"base_url": base_url, "api_key": key, "max_retries": 0, "timeout": 60}
        return ChatOpenAI(model=model, use_responses_api=True, **{**given, **fields})

    found = {only: chat("sim-8s", timeout=2, max_retries=3).invoke(PROMPT).text} if only else report(chat)
    json.dump({"version": version("langchain-openai"), **found}, sys.stdout)


def report(chat: Callable[..., Any]) -> Json:
    """Ask in every way and return the answers, by name."""
    impatient = {"Prefer": "wait=1"}
    return {
        "foreground": chat("sim-1s").invoke(PROMPT).text,
        "streamed": "".join(chunk.text for chunk in chat("sim-2s").stream(PROMPT)),
        "background": fetched(chat("sim-1s", model_kwargs={"background": True})),
        "unfinished": fetched(chat("sim-2s", default_headers=impatient)),
        "long": chat("sim-2s", default_headers=impatient, streaming=True).invoke(PROMPT).text,
        "tool": answered(chat("sim-tool", use_previous_response_id=True).bind_tools([get_weather])),
        "structured": chat("sim-0.5s").with_structured_output(Headline).invoke(PROMPT).headline,
        "failed": raised(lambda: chat("sim-fail-0.5s").invoke(PROMPT)),
        "failed_stream": raised(lambda: list(chat("sim-fail-0.5s").stream(PROMPT))),
    }


def fetched(chat: Any) -> Json:
    """Ask, then poll with the wrapped SDK until the response ends. LangChain itself cannot poll."""
    asked = chat.invoke(PROMPT)
    response = chat.root_client.responses.retrieve(asked.id)
    while response.status in {"queued", "in_progress"}:
        time.sleep(PAUSE_S)
        response = chat.root_client.responses.retrieve(asked.id)
    return {"first": asked.response_metadata["status"], "text": response.output_text}


def answered(chat: Any) -> str:
    """Ask, run the requested tool, and return the answer to its output, chained to the first response."""
    question = HumanMessage("Oslo")
    asking = chat.invoke([question])
    [call] = asking.tool_calls
    text: str = chat.invoke([question, asking, ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"])]).text
    return text


def raised(ask: Callable[[], object]) -> str:
    """Return the exception that LangChain raises, as text."""
    try:
        return f"nothing: {ask()}"
    except Exception as error:  # noqa: BLE001 - this program reports any exception
        return repr(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
