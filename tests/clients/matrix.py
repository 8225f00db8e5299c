"""Reports what the openai Python SDK makes of our streams, as one JSON object on standard output.

    python matrix.py BASE_URL KEY MODEL

It runs under the newest major version and the one before. Each section has the complete events that the SDK returned,
and the error that it raised, or null. test_openai_streams.py checks them. matrix.mjs does the same for Node.
"""

import asyncio
import json
import sys
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, TypeAlias

import openai
from openai.resources.responses import Responses

INPUT = "Wale singen im Chor. Bienen tanzen \U0001f41d naïv."
# U+2028 ends a line for str.splitlines, but not in an event stream.
METADATA = {"note": "one\u2028line"}
FAILING_MODEL = "sim-fail-1s"
LONG_MODEL = "sim-10s"
LEFT_AFTER = 4

Json: TypeAlias = dict[str, Any]


def main(base_url: str, key: str, model: str) -> None:
    """Print the report."""
    given: Json = {"base_url": base_url, "api_key": key, "max_retries": 0, "timeout": 60}
    request: Json = {"model": model, "input": INPUT, "metadata": METADATA}
    with openai.OpenAI(**given) as sdk:
        sections = report(sdk.responses, request)
    sections["asynchronous"] = section(lambda: asyncio.run(created_asynchronously(given, request)))
    json.dump({"sdk": openai.__version__, **sections}, sys.stdout)


def report(responses: Responses, request: Json) -> Json:
    """Open a stream in every way and return the sections, by name."""
    created = section(lambda: responses.create(stream=True, background=True, **request))
    events = created["events"]
    if not events:
        raise SystemExit(f"created: no events, {created['error']}")
    known = events[0]["response"]["id"]
    return {
        "created": created,
        "stored": responses.retrieve(known).to_dict(),
        "foreground": section(lambda: responses.create(stream=True, **request)),
        "replayed": section(lambda: responses.retrieve(known, stream=True)),
        "after": [section(partial(resumed, responses, known, n)) for n in numbers(events)],
        "by_header": [section(partial(resumed_by_header, responses, known, t)) for t in tokens(events)],
        "by_token": [section(partial(responses.retrieve, t, stream=True)) for t in tokens(events)],
        "continued": section(lambda: continued(responses, request)),
        "helper_created": helper(responses, background=True, **request),
        "helper": helper(responses, response_id=known),
        "helper_after": [helper(responses, response_id=known, starting_after=n) for n in numbers(events)[::10]],
        "failed": section(lambda: responses.create(model=FAILING_MODEL, input=INPUT, stream=True, background=True)),
        "helper_failed": helper(responses, model=FAILING_MODEL, input=INPUT, background=True),
        "cancelled": section(lambda: cancelled(responses)),
    }


def section(start: Callable[[], Iterable[Any]]) -> Json:
    """Read a stream until it ends or the SDK raises. Return the events and the error."""
    events: list[Json] = []
    try:
        events.extend(event.to_dict() for event in start())
    except Exception as error:  # noqa: BLE001 - this program reports any exception
        return {"events": events, "error": repr(error)}
    return {"events": events, "error": None}


def numbers(events: Iterable[Json]) -> list[int]:
    """Return the sequence number of every event."""
    return [event["sequence_number"] for event in events]


def tokens(events: Iterable[Json]) -> list[str]:
    """Return the tokens of every tenth event. The last event is left out, because its token is null."""
    return [token for event in list(events)[:-1:10] if (token := event.get("continuation_token"))]


def resumed(responses: Responses, known: str, after: int) -> Iterable[Any]:
    """Open the stream after the event with this number."""
    return responses.retrieve(known, stream=True, starting_after=after)


def resumed_by_header(responses: Responses, known: str, token: str) -> Iterable[Any]:
    """Open the stream after the event with this token, using the header with which a browser resumes."""
    return responses.retrieve(known, stream=True, extra_headers={"Last-Event-ID": token})


def continued(responses: Responses, request: Json) -> Iterator[Any]:
    """Leave a stream while it runs, then resume it after the last event received."""
    with responses.create(stream=True, background=True, **request) as stream:
        first: list[Any] = [next(stream) for _ in range(LEFT_AFTER)]
    yield from first
    yield from resumed(responses, first[0].response.id, first[-1].sequence_number)


def cancelled(responses: Responses) -> Iterator[Any]:
    """Cancel a response after its first text delta, and yield the events of its stream to the end."""
    stream: Iterator[Any] = responses.create(model=LONG_MODEL, input=INPUT, stream=True, background=True)
    created = next(stream)
    yield created
    for event in stream:
        yield event
        if event.type == "response.output_text.delta":
            responses.cancel(created.response.id)
            break
    yield from stream


def helper(responses: Responses, **given: Any) -> Json:
    """Read a stream with the SDK's own accumulator.

    Return the numbers and types of the events, the error, and the text of the final response.
    """
    events: list[Json] = []
    try:
        with responses.stream(**given) as stream:
            events.extend({"sequence_number": event.sequence_number, "type": event.type} for event in stream)
            return {"events": events, "error": None, "text": stream.get_final_response().output_text}
    except Exception as error:  # noqa: BLE001 - as above
        return {"events": events, "error": repr(error), "text": None}


async def created_asynchronously(given: Json, request: Json) -> list[Any]:
    """Return the events of a stream, read by the asynchronous client. Its decoder has a separate loop."""
    async with openai.AsyncOpenAI(**given) as sdk:
        stream = await sdk.responses.create(stream=True, background=True, **request)
        return [event async for event in stream]


if __name__ == "__main__":
    main(*sys.argv[1:])
