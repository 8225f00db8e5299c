"""Tools that run once. The result of each finished call is saved before the model sees it, and reused after a crash.

A call is identified by its tool, its arguments and the number of equal calls before it. If the work resumes from a
token, the calls before that token are already counted. If it starts again, the count starts at zero.
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
        """Take the saved checkpoints. The first `settled` of them precede the token that the work resumes from."""
        self._checkpoints = checkpoints
        self._results = {_key(one): one["result"] for one in saved if "tool" in one}
        self._calls = Counter(_key(one)[:2] for one in saved[:settled] if "tool" in one)

    def count_call(self, tool: str, arguments: str) -> int:
        """Count a call and return how many equal calls came before it."""
        self._calls[tool, arguments] += 1
        return self._calls[tool, arguments] - 1

    def result_of(self, tool: str, arguments: str, nth: int) -> Any:
        """Return the saved result of a call that has `nth` equal calls before it, or None."""
        return self._results.get((tool, arguments, nth))

    async def confirm(self) -> None:
        """Return if the tools of this response may still be called here. If not, never return."""
        await self._checkpoints.confirm()

    async def save(self, tool: str, arguments: str, nth: int, result: Any) -> None:
        """Save the result of a call. A result that is too large is not saved, so a crash repeats the call."""
        try:
            await self._checkpoints.save({"tool": tool, "arguments": arguments, "nth": nth, "result": result})
        except Oversized:
            _log.warning("tool.not_kept", extra={"tool": tool})


def saving_results(results: ToolResults) -> "FunctionMiddleware":
    """Return a middleware around each tool that does not repeat a call whose result is saved."""
    from agent_framework import FunctionMiddleware  # noqa: PLC0415 - only where an agent is run

    class SavingResults(FunctionMiddleware):
        async def process(self, context: "FunctionInvocationContext", call_next: Callable[[], Awaitable[None]]) -> None:
            tool, arguments = context.function.name, _canonical(context.arguments)
            nth = results.count_call(tool, arguments)
            if (saved := results.result_of(tool, arguments, nth)) is not None:
                _log.info("tool.recalled", extra={"tool": tool})
                context.result = _restored(saved)
                return
            await results.confirm()
            await call_next()
            if (result := _saved_form(context.result)) is not None:
                await results.save(tool, arguments, nth, result)

    return SavingResults()


def _key(checkpoint: Mapping[str, Any]) -> tuple[str, str, int]:
    return checkpoint["tool"], checkpoint["arguments"], checkpoint["nth"]


def _canonical(arguments: Any) -> str:
    """Return arguments as JSON text. Equal arguments give equal text."""
    plain = arguments.model_dump() if hasattr(arguments, "model_dump") else dict(arguments)
    return orjson.dumps(plain, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _saved_form(result: Any) -> Any:
    """Return a result as a JSON value, or None for a request for approval, which is not a result."""
    if isinstance(result, list):
        return [content.to_dict() for content in result]
    return None if getattr(result, "type", None) == "function_approval_request" else str(result)


def _restored(saved: Any) -> Any:
    from agent_framework import Content  # noqa: PLC0415 - only where an agent is run

    return [Content.from_dict(one) for one in saved] if isinstance(saved, list) else saved
