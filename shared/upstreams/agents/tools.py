"""Tools that are run once: the result of each finished call is kept before the model sees it, and found again.

A call is known by tool, arguments and how many equal ones came before it in the course of the work. Where the work
goes on by a token, the calls before that token are part of it; where it is begun anew, none is.
"""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import orjson

from shared.core.blobs import Oversized
from shared.telemetry.logs import logger
from shared.upstreams.protocol import Memory

if TYPE_CHECKING:
    from agent_framework import FunctionInvocationContext, FunctionMiddleware

_log = logger(__name__)


class Journal:
    """The calls of one response; `facts` are what was kept of it, `settled` how many of them are part of the work."""

    def __init__(self, memory: Memory, facts: Sequence[Mapping[str, Any]], settled: int) -> None:
        self._memory = memory
        self._results = {_key(fact): fact["result"] for fact in facts if "tool" in fact}
        self._calls = Counter(_key(fact)[:2] for fact in facts[:settled] if "tool" in fact)

    def called(self, tool: str, arguments: str) -> int:
        """Return how many equal calls came before this one, which is counted."""
        self._calls[tool, arguments] += 1
        return self._calls[tool, arguments] - 1

    def result(self, tool: str, arguments: str, nth: int) -> Any:
        """Return the result that was kept of a call; None if there is none."""
        return self._results.get((tool, arguments, nth))

    async def keep(self, tool: str, arguments: str, nth: int, result: Any) -> None:
        """Keep the result of a call; one that is too large would be got anew after a death."""
        try:
            await self._memory.keep({"tool": tool, "arguments": arguments, "nth": nth, "result": result})
        except Oversized:
            _log.warning("tool.not_kept", extra={"tool": tool})


def keeping(journal: Journal) -> "FunctionMiddleware":
    """Return what stands between the model and each tool: a call that has finished before is not made again."""
    from agent_framework import FunctionMiddleware  # noqa: PLC0415 - only where an agent is run

    class Keeping(FunctionMiddleware):
        async def process(self, context: "FunctionInvocationContext", call_next: Callable[[], Awaitable[None]]) -> None:
            tool, arguments = context.function.name, _canonical(context.arguments)
            nth = journal.called(tool, arguments)
            if (kept := journal.result(tool, arguments, nth)) is not None:
                _log.info("tool.recalled", extra={"tool": tool})
                context.result = _restored(kept)
                return
            await call_next()
            if (result := _kept_form(context.result)) is not None:
                await journal.keep(tool, arguments, nth, result)

    return Keeping()


def _key(fact: Mapping[str, Any]) -> tuple[str, str, int]:
    return fact["tool"], fact["arguments"], fact["nth"]


def _canonical(arguments: Any) -> str:
    """Return arguments as JSON text; equal ones give equal text."""
    plain = arguments.model_dump() if hasattr(arguments, "model_dump") else dict(arguments)
    return orjson.dumps(plain, default=str, option=orjson.OPT_SORT_KEYS | orjson.OPT_NON_STR_KEYS).decode()


def _kept_form(result: Any) -> Any:
    """Return a result as JSON; None for a request for approval, which is no result."""
    if isinstance(result, list):
        return [content.to_dict() for content in result]
    return None if getattr(result, "type", None) == "function_approval_request" else str(result)


def _restored(kept: Any) -> Any:
    from agent_framework import Content  # noqa: PLC0415 - only where an agent is run

    return [Content.from_dict(one) for one in kept] if isinstance(kept, list) else kept
