"""One run of an agent, from its beginning or a continuation token to its end or a pause."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson

from shared.core.blobs import Oversized
from shared.core.errors import UpstreamBroken, UpstreamOversized, UpstreamPaused
from shared.core.states import Status
from shared.telemetry.logs import logger
from shared.upstreams.agents import inputs, updates
from shared.upstreams.agents.failures import is_about_background
from shared.upstreams.agents.output_events import OutputBuilder, total_usage
from shared.upstreams.agents.tools import ToolResults, saving_results
from shared.upstreams.agents.updates import COMPLETED, Result
from shared.upstreams.protocol import Checkpoints, UpstreamEvent

if TYPE_CHECKING:
    from agent_framework import Agent, AgentSession

_log = logger(__name__)
_NEEDS_INPUT = Result(
    Status.FAILED,
    {"error": {"code": "agent_needs_input", "message": "The agent asks for an approval or an input."}},
)


class AgentState:
    """How far the work of a response is, read from its checkpoints or from the session of the previous response."""

    def __init__(
        self, checkpoints: Checkpoints, saved: Sequence[Mapping[str, Any]], previous: Mapping[str, Any] | None
    ) -> None:
        tokens = [place for place, one in enumerate(saved) if "token" in one]
        last = saved[tokens[-1]] if tokens else previous or {}
        self.tool_results = ToolResults(checkpoints, saved, tokens[-1] if tokens else 0)
        self.token: dict[str, Any] | None = last.get("token")
        self.output: list[dict[str, Any]] = last.get("told", [])  # the items before that token
        self.usage: list[Mapping[str, Any]] = last.get("used", [])  # for those items
        self._session = last.get("session")
        self._checkpoints = checkpoints

    def session(self, response_id: str) -> "AgentSession":
        """Return the agent's session as it was saved, or a new one whose id is our id of the response."""
        from agent_framework import AgentSession  # noqa: PLC0415 - only where an agent is run

        return AgentSession.from_dict(self._session) if self._session else AgentSession(session_id=response_id)

    async def save_token(
        self,
        token: Mapping[str, Any],
        stops_by: str,
        session: Mapping[str, Any] | None,
        output: Sequence[Mapping[str, Any]],
        usage: Sequence[Mapping[str, Any]],
    ) -> None:
        """Save a new continuation token, with the session, the output and the usage before it.

        `stops_by` is the token that stops the work from now on. Nothing is saved if the continuation token is not new.
        Raises UpstreamOversized if the checkpoint is over 2.5 MiB when packed.
        """
        if self.token == token:
            return
        self.token = dict(token)
        checkpoint = {"token": self.token, "session": session, "told": list(output), "used": list(usage)}
        try:
            await self._checkpoints.save(checkpoint, stops_by)
        except Oversized:
            raise UpstreamOversized from None


class AgentRun:
    """One run of an agent for one response. `asks_background` becomes False if the chat client rejects that option."""

    def __init__(
        self,
        agent: "Agent",
        request: Mapping[str, Any],
        builder: OutputBuilder,
        state: AgentState,
        session: "AgentSession",
    ) -> None:
        self._agent = agent
        self._request = request
        self._builder = builder
        self._state = state
        self._session = session
        self._streams = bool(request.get("stream"))
        self._result: Result | None = None
        self._usage = list(state.usage)
        self.asks_background = True

    async def events(self, stopping: Callable[[Mapping[str, Any]], str]) -> AsyncGenerator[UpstreamEvent, None]:
        """Yield the answer as events, up to and including the terminal one.

        `stopping` turns the chat client's continuation token into a token for `AgentUpstream.stop`. Raises
        UpstreamPaused if the work goes on without a reader, and UpstreamBroken if a stream ends too early. Exceptions
        of the agent pass through.
        """
        async with self._agent, aclosing(self._answers()) as answers:
            async for answer in answers:
                for event in self._events_of(answer):
                    yield UpstreamEvent(None, event)
                if answer.continuation_token is not None:
                    await self._save_token(answer, stopping)
        for event in self._builder.close():
            yield UpstreamEvent(None, event)
        yield self._terminal_event()

    async def _save_token(self, answer: Any, stopping: Callable[[Mapping[str, Any]], str]) -> None:
        """Save the token of an answer. A whole response with a token ends the run, as its work goes on elsewhere."""
        token = answer.continuation_token
        if self.asks_background:
            session = portable(self._session)
            await self._state.save_token(token, stopping(token), session, self._builder.output, self._usage)
        if _is_whole(answer):
            raise UpstreamBroken("the stream ended before its end") if self._streams else UpstreamPaused

    async def _answers(self) -> AsyncGenerator[Any, None]:
        """Yield the agent's answers. Ask for background work first, and run without it if that is rejected."""
        has_begun = False
        try:
            async with aclosing(self._run_once()) as answers:
                async for answer in answers:
                    has_begun = True
                    yield answer
        except Exception as error:
            if has_begun or not self.asks_background or not is_about_background(error):
                raise
        else:
            return
        self.asks_background = False
        async with aclosing(self._run_once()) as answers:
            async for answer in answers:
                yield answer

    async def _run_once(self) -> AsyncGenerator[Any, None]:
        """Yield the updates of a stream and then the whole response, or only the latter if nothing is streamed."""
        given: Any = {
            "session": self._session,
            "options": self._options(),
            "middleware": [saving_results(self._state.tool_results)],
        }
        if not self._streams:
            yield await self._agent.run(None if self._state.token else self._messages(), **given)
            return
        stream = self._agent.run(self._messages(), stream=True, **given)
        try:
            async for update in stream:
                yield update
            yield await stream.get_final_response()
        finally:
            await stream.close()

    def _messages(self) -> Any:
        from agent_framework import Message  # noqa: PLC0415 - only where an agent is run

        return [Message(one["role"], one["contents"]) for one in inputs.input_messages(self._request)]

    def _options(self) -> dict[str, Any]:
        options = inputs.run_options(self._request)
        if self.asks_background:
            options["background"] = True
        if self._state.token:
            options["continuation_token"] = self._state.token
        return options

    def _events_of(self, answer: Any) -> list[dict[str, Any]]:
        """Return the events of an answer. The whole response after a stream has none, it only shows the result."""
        self._result = updates.result_of(answer) or self._result
        if self._streams and _is_whole(answer):
            return []
        found = updates.contents(answer)
        if updates.needs_input(found):
            self._result = _NEEDS_INPUT
        self._usage += updates.usage_details(found)
        if _is_whole(answer) and answer.usage_details:
            self._usage = [*self._state.usage, answer.usage_details]
        deltas = [delta for message, content in found for delta in updates.deltas(message, content)]
        return [event for delta in deltas for event in self._builder.add(delta)]

    def _terminal_event(self) -> UpstreamEvent:
        result = self._result or COMPLETED
        answer = {"output": self._builder.output, "usage": total_usage(self._usage), **result.fields}
        session = portable(self._session) if result.status is not Status.FAILED else None
        return terminal_event(result.status, answer, {"session": session} if session else None)


def terminal_event(status: Status, answer: Mapping[str, Any], session: dict[str, Any] | None = None) -> UpstreamEvent:
    """Return the event that ends an agent's work. `answer` holds the other fields of its response object."""
    data = {"type": f"response.{status}", "response": {"status": str(status), **answer}}
    return UpstreamEvent(None, data, session=session)


def portable(session: "AgentSession") -> dict[str, Any] | None:
    """Return a session as a JSON object, or None if JSON cannot express its state."""
    try:
        kept: dict[str, Any] = orjson.loads(orjson.dumps(session.to_dict(), option=orjson.OPT_NON_STR_KEYS))
    except TypeError:
        _log.warning("session.unportable")
        return None
    return kept


def _is_whole(answer: Any) -> bool:
    return hasattr(answer, "messages")
