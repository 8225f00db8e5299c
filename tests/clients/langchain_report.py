"""What LangChain's ChatOpenAI makes of our answers, as one JSON object on standard output.

    python langchain_report.py BASE_URL KEY

Runs in an environment of its own; what the sections ought to say stands in test_frameworks.py.
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
    """What a program may want instead of a text."""

    headline: str


def get_weather(place: str) -> str:
    """Return the weather of a place."""
    return f"It snows in {place}."


def main(base_url: str, key: str) -> None:
    """Print the report."""

    def chat(model: str, **fields: Any) -> Any:
        given = {"base_url": base_url, "api_key": key, "max_retries": 0, "timeout": 60}
        return ChatOpenAI(model=model, use_responses_api=True, **given, **fields)

    json.dump({"version": version("langchain-openai"), **report(chat)}, sys.stdout)


def report(chat: Callable[..., Any]) -> Json:
    """Return what became of every way to ask."""
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
    """Ask, and get by the wrapped SDK what had not ended; LangChain itself has no call for that."""
    asked = chat.invoke(PROMPT)
    response = chat.root_client.responses.retrieve(asked.id)
    while response.status in {"queued", "in_progress"}:
        time.sleep(PAUSE_S)
        response = chat.root_client.responses.retrieve(asked.id)
    return {"first": asked.response_metadata["status"], "text": response.output_text}


def answered(chat: Any) -> str:
    """Ask, run the tool that is called for, and give its output to a response chained to the first."""
    question = HumanMessage("Oslo")
    asking = chat.invoke([question])
    [call] = asking.tool_calls
    text: str = chat.invoke([question, asking, ToolMessage(get_weather(**call["args"]), tool_call_id=call["id"])]).text
    return text


def raised(ask: Callable[[], object]) -> str:
    """Return what LangChain raises."""
    try:
        return f"nothing: {ask()}"
    except Exception as error:  # noqa: BLE001 - whatever it raises is what this program is to tell
        return repr(error)


if __name__ == "__main__":
    main(*sys.argv[1:])
