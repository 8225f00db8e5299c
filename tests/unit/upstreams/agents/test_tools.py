"""Tools that run once: which call a saved result belongs to, and what is saved and restored around each call."""

import asyncio
import os
import threading
from collections.abc import Mapping
from typing import Any

import pytest
from agent_framework import Content, FunctionInvocationContext, FunctionMiddleware, tool
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from shared.core import blobs
from shared.upstreams.agents.tools import ToolResults, saving_results
from shared.upstreams.protocol import Checkpoints
from tests.support.log_capture import WrittenLines, log_lines

BONN = '{"city":"Bonn"}'
ONLY = [Content.from_text("rain")]


class MemoryCheckpoints:
    """The checkpoints of one run in memory. They have the form and the limit of those in storage."""

    def __init__(self, session: dict[str, Any] | None = None) -> None:
        self.saved: list[dict[str, Any]] = []
        self.tokens: list[str | None] = []
        self.confirmed = 0
        self._session = session

    async def load(self) -> list[dict[str, Any]]:
        """Return what was saved."""
        return list(self.saved)

    async def save(self, checkpoint: dict[str, Any], token: str | None = None) -> None:
        """Save a checkpoint as JSON."""
        self.saved.append(blobs.unpack(blobs.pack(checkpoint)))
        self.tokens.append(token)

    async def confirm(self) -> None:
        """Return, because nobody else holds the run."""
        self.confirmed += 1

    async def previous_session(self) -> dict[str, Any] | None:
        """Return the session of the previous response."""
        return self._session


def saved_call(arguments: str, nth: int, result: Any, tool_name: str = "weather") -> dict[str, Any]:
    """Return the checkpoint of a finished call."""
    return {"tool": tool_name, "arguments": arguments, "nth": nth, "result": result}


def results(*saved: Mapping[str, Any], settled: int = 0) -> ToolResults:
    """Return the results that these checkpoints hold."""
    checkpoints: Checkpoints = MemoryCheckpoints()
    return ToolResults(checkpoints, saved, settled)


# Results


def test_equal_calls_are_counted() -> None:
    """A call is identified by the number of equal calls before it. Other arguments or another tool are not equal."""
    known = results()
    asked = [("weather", BONN), ("weather", BONN), ("weather", "{}"), ("traffic", BONN), ("weather", BONN)]
    assert [known.count_call(*one) for one in asked] == [0, 1, 0, 0, 2]


def test_a_result_belongs_to_one_call() -> None:
    """The tool, the arguments and the number must all be the same."""
    known = results(saved_call(BONN, 0, "rain"), saved_call(BONN, 1, "sun"), saved_call(BONN, 0, "jam", "traffic"))
    assert [known.result_of("weather", BONN, nth) for nth in (0, 1, 2)] == ["rain", "sun", None]
    assert known.result_of("traffic", BONN, 0) == "jam"
    assert known.result_of("weather", "{}", 0) is None


def test_calls_before_the_token_are_already_counted() -> None:
    """Work that resumes from a token has made them. Work that starts again makes all of them again."""
    saved = [saved_call(BONN, 0, "rain"), saved_call(BONN, 1, "sun"), {"token": {"id": 1}}, saved_call(BONN, 2, "snow")]
    assert [results(*saved, settled=settled).count_call("weather", BONN) for settled in (0, 1, 2, 3)] == [0, 1, 2, 2]
    assert results(*saved, settled=2).result_of("weather", BONN, 2) == "snow"


@given(st.lists(st.sampled_from(["{}", BONN]), max_size=8), st.integers(0, 8))
async def test_a_process_that_starts_again_finds_every_saved_result(calls: list[str], saved: int) -> None:
    """If the work makes the same calls again, those that were saved get their results, and the others get none."""
    checkpoints = MemoryCheckpoints()
    first = ToolResults(checkpoints, [], 0)
    for number, arguments in enumerate(calls[:saved]):
        await first.save("weather", arguments, first.count_call("weather", arguments), number)
    second = ToolResults(MemoryCheckpoints(), await checkpoints.load(), 0)
    found = [second.result_of("weather", one, second.count_call("weather", one)) for one in calls]
    assert found == [number if number < saved else None for number in range(len(calls))]


async def test_a_result_that_is_too_large_is_not_saved(written: WrittenLines) -> None:
    """The call goes on without it. A warning names the tool only."""
    checkpoints = MemoryCheckpoints()
    await ToolResults(checkpoints, [], 0).save("weather", BONN, 0, os.urandom(3_000_000).hex())
    assert checkpoints.saved == []
    assert log_lines(written, "warning") == [{"event": "tool.not_kept", "tool": "weather"}]


# The middleware


@tool
def weather(city: str) -> str:
    """Tell the weather of a city."""
    return city


class City(BaseModel):
    """The arguments of the tool, as a model."""

    city: str


class Calls:
    """Calls of one tool through the middleware. The tool gives this result, or raises it."""

    def __init__(self, checkpoints: MemoryCheckpoints, result: Any = ONLY, settled: int = 0) -> None:
        self.made = 0
        self._checkpoints = checkpoints
        self._middleware: FunctionMiddleware = saving_results(ToolResults(checkpoints, checkpoints.saved, settled))
        self._result = result

    async def make(self, arguments: BaseModel | Mapping[str, Any]) -> Any:
        """Make one call and return its result."""
        context = FunctionInvocationContext(weather, arguments)

        async def call() -> None:
            self.made += 1
            await asyncio.sleep(0)
            if isinstance(self._result, Exception):
                raise self._result
            context.result = self._result

        await self._middleware.process(context, call)
        return context.result


async def test_the_result_is_saved_before_the_model_sees_it() -> None:
    """When the call returns, its tool, its arguments and its result are durable."""
    checkpoints = MemoryCheckpoints()
    assert await Calls(checkpoints).make({"city": "Bonn"}) == ONLY
    (saved,) = checkpoints.saved
    assert (saved["tool"], saved["arguments"], saved["nth"]) == ("weather", BONN, 0)
    assert [Content.from_dict(one).text for one in saved["result"]] == ["rain"]
    assert checkpoints.tokens == [None]


async def test_a_tool_is_called_only_by_the_holder_of_the_run() -> None:
    """Before each call the run is confirmed. A result that is saved needs no call, so it needs no confirmation."""
    checkpoints = MemoryCheckpoints()
    await Calls(checkpoints).make({"city": "Bonn"})
    await Calls(checkpoints).make({"city": "Bonn"})
    assert checkpoints.confirmed == 1


async def test_a_tool_that_blocks_holds_up_no_other_run() -> None:
    """A tool that is no coroutine runs in a thread, so that other runs go on and their leases are renewed."""
    ran_in: list[int] = []

    @tool
    def slow(city: str) -> str:
        """Wait until other work has been done meanwhile."""
        ran_in.append(threading.get_ident())
        assert others.wait(10)
        return city

    others = threading.Event()
    asyncio.get_running_loop().call_later(0.05, others.set)  # on the event loop, which must not be blocked
    await slow.invoke(arguments={"city": "Bonn"})
    assert ran_in != [threading.get_ident()]


async def test_a_call_whose_result_is_saved_is_not_made_again(written: WrittenLines) -> None:
    """The next process gives the model the same result. The log names the tool and not its arguments."""
    checkpoints = MemoryCheckpoints()
    await Calls(checkpoints).make({"city": "Bonn"})
    again = Calls(checkpoints, result=[Content.from_text("sun")])
    (found,) = await again.make({"city": "Bonn"})
    assert (found.type, found.text, again.made, len(checkpoints.saved)) == ("text", "rain", 0, 1)
    assert log_lines(written) == [{"event": "tool.recalled", "tool": "weather"}]


@pytest.mark.parametrize(
    "result",
    [
        [Content.from_text("rain"), Content.from_text("sun")],
        [Content.from_uri("https://a.example/map.png", media_type="image/png")],
        [],
        "rain",
        "",
    ],
    ids=["texts", "image", "nothing", "text", "empty"],
)
async def test_a_restored_result_is_the_same(result: Any) -> None:
    """A list of contents or a text comes back as it was, because the model must not see another answer."""
    checkpoints = MemoryCheckpoints()
    await Calls(checkpoints, result).make({"city": "Bonn"})
    again = Calls(checkpoints)
    found = await again.make({"city": "Bonn"})
    assert (plain(found), again.made) == (plain(result), 0)


def plain(result: Any) -> Any:
    """Return a result in a form that can be compared."""
    return [content.to_dict() for content in result] if isinstance(result, list) else result


@pytest.mark.parametrize(
    ("first", "second", "are_equal"),
    [
        ({"city": "Bonn", "day": 1}, {"day": 1, "city": "Bonn"}, True),
        ({"city": "Bonn"}, City(city="Bonn"), True),
        ({"at": {2: "b", 1: "a"}}, {"at": {1: "a", 2: "b"}}, True),
        ({"city": "Bonn"}, {"city": "bonn"}, False),
        ({"day": 1}, {"day": "1"}, False),
        ({}, {"city": None}, False),
    ],
)
async def test_arguments_are_equal_whatever_their_order_and_form(first: Any, second: Any, are_equal: bool) -> None:
    """A model may write the same arguments in another order, and the framework may give them as a model."""
    checkpoints = MemoryCheckpoints()
    await Calls(checkpoints).make(first)
    again = Calls(checkpoints)
    await again.make(second)
    assert again.made == (0 if are_equal else 1)


async def test_equal_calls_at_the_same_time_are_distinguished() -> None:
    """The framework runs the calls of one turn in parallel. Each is made once, and each has its own result."""
    checkpoints = MemoryCheckpoints()
    first = Calls(checkpoints)
    await asyncio.gather(*(first.make({"city": "Bonn"}) for _ in range(3)))
    assert (first.made, sorted(one["nth"] for one in checkpoints.saved)) == (3, [0, 1, 2])
    again = Calls(checkpoints)
    await asyncio.gather(*(again.make({"city": "Bonn"}) for _ in range(4)))
    assert again.made == 1


async def test_calls_after_a_token_are_made_although_they_equal_earlier_ones() -> None:
    """The calls before the token are part of the work, so their results are not used a second time."""
    checkpoints = MemoryCheckpoints()
    await Calls(checkpoints).make({"city": "Bonn"})
    resumed = Calls(checkpoints, settled=1)
    await resumed.make({"city": "Bonn"})
    assert (resumed.made, [one["nth"] for one in checkpoints.saved]) == (1, [0, 1])


async def test_a_tool_that_fails_has_no_result() -> None:
    """Its exception passes through. After a crash the call is made again."""
    checkpoints = MemoryCheckpoints()
    with pytest.raises(ConnectionError):
        await Calls(checkpoints, ConnectionError()).make({"city": "Bonn"})
    assert checkpoints.saved == []
    again = Calls(checkpoints)
    await again.make({"city": "Bonn"})
    assert again.made == 1


async def test_a_request_for_approval_is_not_a_result() -> None:
    """The framework needs the request itself, and asks for the approval again after a crash."""
    checkpoints = MemoryCheckpoints()
    request = Content.from_function_approval_request("r", Content.from_function_call("c", "weather"))
    assert await Calls(checkpoints, request).make({"city": "Bonn"}) is request
    assert checkpoints.saved == []
