"""LangChain's ChatOpenAI. It cannot poll, so the SDK that it wraps fetches an unfinished response."""

import time
from typing import Any

from langchain_core.messages import HumanMessage, ToolMessage
from langchain_openai import ChatOpenAI
from pydantic import BaseModel

from tests.clients.drivers.driving import PLACE, PROMPT, Call, Shown, drive, get_weather

PAUSE_S = 0.2
PREFER = {"Prefer": "wait=1"}


class Headline(BaseModel):
    """A type of structured output."""

    headline: str


def chat(call: Call, **fields: Any) -> Any:
    """Return a chat model."""
    return ChatOpenAI(model=call.model, use_responses_api=True, **call.options, **fields)


def answer(call: Call, **fields: Any) -> Shown:
    """Ask in the foreground, or as the fields say."""
    message = chat(call, **fields).invoke(PROMPT)
    return Shown(message.text, message.response_metadata.get("status"))


def queued(call: Call) -> Shown:
    """Start background work."""
    return answer(call, model_kwargs={"background": True})


def stream(call: Call) -> Shown:
    """Read a stream to its end."""
    status = None
    for chunk in chat(call).stream(PROMPT):
        call.heard.append(chunk.text)
        status = chunk.response_metadata.get("status") or status
    return Shown("".join(call.heard), status)


def streamed_early(call: Call) -> Shown:
    """Ask for an early answer, and let the chat model use a stream."""
    return answer(call, default_headers=PREFER, streaming=True)


def tool(call: Call) -> Shown:
    """Run the requested tool, and send its output, chained to the first response."""
    bound = chat(call, use_previous_response_id=True).bind_tools([get_weather])
    question = HumanMessage(PLACE)
    asking = bound.invoke([question])
    [asked] = asking.tool_calls
    output = ToolMessage(get_weather(**asked["args"]), tool_call_id=asked["id"])
    message = bound.invoke([question, asking, output])
    return Shown(message.text, message.response_metadata.get("status"))


def structured(call: Call) -> Shown:
    """Ask for a value of a type."""
    return Shown(chat(call).with_structured_output(Headline).invoke(PROMPT).headline)


def fetched(call: Call, **fields: Any) -> Shown:
    """Ask in the background, or as the fields say, and poll to the end. The state is that of the first answer."""
    asking = chat(call, **(fields or {"model_kwargs": {"background": True}}))
    asked = asking.invoke(PROMPT)
    response = asking.root_client.responses.retrieve(asked.id)
    while response.status in {"queued", "in_progress"}:
        time.sleep(PAUSE_S)
        response = asking.root_client.responses.retrieve(asked.id)
    return Shown(response.output_text, asked.response_metadata["status"])


def fetched_early(call: Call) -> Shown:
    """Ask for an early answer, and poll until the response ends."""
    return fetched(call, default_headers=PREFER)


if __name__ == "__main__":
    drive(
        "langchain-openai",
        answer=answer,
        stream=stream,
        tool=tool,
        queued=queued,
        structured=structured,
        fetched=fetched,
        fetched_early=fetched_early,
        streamed_early=streamed_early,
    )
