"""Tools that run once: the result of each finished call is saved before the model sees it, and found after a death.

A call is identified by its tool, its arguments and the number of equal calls before it. If the work goes on from a
token, the calls before that token are part of it. If it starts again, no call is.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from shared.core.blobs import Oversized
from shared.telemetry.logs import logger
from shared.upstreams.protocol import Checkpoints

if TYPE_CHECKING:
    from agent_framework import FunctionInvocationContext, FunctionMiddleware

_log = logger(__name__)


class ToolResults:
    """The results of the tool calls of one response."""

    def __init__(self, checkpoints: Checkpoints, saved: Sequence[Mapping[str, Any]], settled: int) -> None:
        """Take what is saved of the response, and how many of those checkpoints the work goes on from."""
        self._checkpoints = checkpoints
        self._results = {_key(one): one["result"] for one in saved if "tool" in one}
        self._calls = Counter(_key(one)[:2] for one in saved[:settled] if "tool" in one)

    def count_call(self, tool: str, arguments: str) -> int:
        """Count a call; return how many equal calls there were before it."""
        self._calls[tool, arguments] += 1
        return self._calls[tool, arguments] - 1

    def result_of(self, tool: str, arguments: str, nth: int) -> Any:
        """Return the saved result of a call; None if there is none."""
        return self._results.get((tool, arguments, nth))

    async def save(self, tool: str, arguments: str, nth: int, result: Any) -> None:
        """Save the result of a call. One that is too large is not saved: after a death the call is made again."""
        try:
            await self._checkpoints.save({"tool": tool, "arguments": arguments, "nth": nth, "result": result})
        except Oversized:
            _log.warning("tool.not_kept", extra={"tool": tool})


def saving_results(results: ToolResults) -> "FunctionMiddleware":
    """Return a middleware around each tool: a call that has finished before is not made again."""
    from agent_framework import FunctionMiddleware  # noqa: PLC0415 - only where an agent is run

    class SavingResults(FunctionMiddleware):
        async def process(self, context: "FunctionInvocationContext", call_next: Callable[[], Awaitable[None]]) -> None:
            tool, arguments = context.function.name, _canonical(context.arguments)
            nth = results.count_call(tool, arguments)
            if (saved := results.result_of(tool, arguments, nth)) is not None:
                _log.info("tool.recalled", extra={"tool": tool})
                context.result = _restored(saved)
                return
            await call_next()
            if (result := _saved_form(context.result)) is not None:
                await results.save(tool, arguments, nth, result)

    return SavingResults()


def _key(checkpoint: Mapping[str, Any]) -> tuple[str, str, int]:
    return checkpoint["tool"], checkpoint["arguments"], checkpoint["nth"]


def _canonical(arguments: Any) -> str:
    """Return arguments as JSON text. Equal ones give equal text."""
    plain = arguments.model_dump() if hasattr(arguments, "model_dump") else dict(arguments)
    return orjson.dumps(plain, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _saved_form(result: Any) -> Any:
    """Return a result as JSON; None for a request for approval, which is not a result."""
    if isinstance(result, list):
        return [content.to_dict() for content in result]
    return None if getattr(result, "type", None) == "function_approval_request" else str(result)


def _restored(saved: Any) -> Any:
    from agent_framework import Content  # noqa: PLC0415 - only where an agent is run

    return [Content.from_dict(one) for one in saved] if isinstance(saved, list) else saved
