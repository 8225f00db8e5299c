"""One holder's share of an agent's work: from its beginning, or from its continuation token, to its end or a pause."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson

from shared.core.blobs import Oversized
from shared.core.errors import UpstreamBroken, UpstreamOversized, UpstreamPaused
from shared.core.states import Status
from shared.telemetry.logs import logger
from shared.upstreams.agents import inputs, output_events, updates
from shared.upstreams.agents.failures import is_about_background
from shared.upstreams.agents.output_events import Narrative
from shared.upstreams.agents.tools import Journal, keeping
from shared.upstreams.agents.updates import COMPLETED, Verdict
from shared.upstreams.protocol import Memory, Sent

if TYPE_CHECKING:
    from agent_framework import Agent, AgentSession

_log = logger(__name__)
_NEEDS_INPUT = Verdict(
    Status.FAILED,
    {"error": {"code": "agent_needs_input", "message": "The agent asks for an approval or an input."}},
)


class Course:
    """How far the work of a response has come, by the facts that were kept of it."""

    def __init__(self, memory: Memory, facts: Sequence[Mapping[str, Any]], legacy: Mapping[str, Any] | None) -> None:
        tokens = [place for place, fact in enumerate(facts) if "token" in fact]
        last = facts[tokens[-1]] if tokens else legacy or {}
        self.journal = Journal(memory, facts, tokens[-1] if tokens else 0)
        self.token: dict[str, Any] | None = last.get("token")
        self.told: list[dict[str, Any]] = last.get("told", [])  # the items of the output before that token
        self.used: list[Mapping[str, Any]] = last.get("used", [])  # the tokens of models that they took
        self._session = last.get("session")
        self._memory = memory

    def session(self, response_id: str) -> "AgentSession":
        """Return the agent's session as it was left, or a new one."""
        from agent_framework import AgentSession  # noqa: PLC0415 - only where an agent is run

        return AgentSession.from_dict(self._session) if self._session else AgentSession(session_id=response_id)

    async def keep(self, token: Mapping[str, Any], named: str, **known: Any) -> None:
        """Keep the token by which the work goes on, unless it is the one that is known; raises UpstreamOversized."""
        if self.token == token:
            return
        self.token = dict(token)
        try:
            await self._memory.keep({"token": self.token, **known}, named)
        except Oversized:
            raise UpstreamOversized from None


class AgentRun:
    """An agent at work for one response. `asks_background` becomes false where its chat client refuses that."""

    def __init__(
        self, agent: "Agent", request: Mapping[str, Any], narrative: Narrative, course: Course, session: "AgentSession"
    ) -> None:
        self._agent = agent
        self._request = request
        self._narrative = narrative
        self._course = course
        self._session = session
        self._streams = bool(request.get("stream"))
        self._verdict: Verdict | None = None
        self._used = list(course.used)
        self.asks_background = True

    async def events(self, named: Callable[[Mapping[str, Any]], str]) -> AsyncGenerator[Sent, None]:
        """Give the answer as events up to the terminal one; `named` makes a token one that the work is stopped by.

        Raises UpstreamPaused where the work goes on without us, UpstreamBroken where a stream ends without its end.
        """
        async with self._agent, aclosing(self._answers()) as answers:
            async for answer in answers:
                for event in self._told(answer):
                    yield Sent(None, event)
                if answer.continuation_token is not None:
                    await self._go_on_later(answer, named)
        for event in self._narrative.end():
            yield Sent(None, event)
        yield self._terminal()

    async def _go_on_later(self, answer: Any, named: Callable[[Mapping[str, Any]], str]) -> None:
        """Keep the token of an update; leave at that of a whole response, whose work goes on without us."""
        if self.asks_background:
            known = {"session": portable(self._session), "told": self._narrative.output, "used": self._used}
            await self._course.keep(answer.continuation_token, named(answer.continuation_token), **known)
        if _is_whole(answer):
            raise UpstreamBroken("the stream ended before its end") if self._streams else UpstreamPaused

    async def _answers(self) -> AsyncGenerator[Any, None]:
        """Give what the agent answers, asked for background work first; a chat client may not know such a thing."""
        has_begun = False
        try:
            async with aclosing(self._asked()) as answers:
                async for answer in answers:
                    has_begun = True
                    yield answer
        except Exception as error:
            if has_begun or not self.asks_background or not is_about_background(error):
                raise
        else:
            return
        self.asks_background = False
        async with aclosing(self._asked()) as answers:
            async for answer in answers:
                yield answer

    async def _asked(self) -> AsyncGenerator[Any, None]:
        """Give the updates of a stream, and in any case the whole response last."""
        given: Any = {
            "session": self._session,
            "options": self._options(),
            "middleware": [keeping(self._course.journal)],
        }
        if not self._streams:
            yield await self._agent.run(None if self._course.token else self._messages(), **given)
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

        return [Message(one["role"], one["contents"]) for one in inputs.messages(self._request)]

    def _options(self) -> dict[str, Any]:
        options = inputs.options(self._request)
        if self.asks_background:
            options["background"] = True
        if self._course.token:
            options["continuation_token"] = self._course.token
        return options

    def _told(self, answer: Any) -> list[dict[str, Any]]:
        """Return the events of an answer; the whole response after a stream tells only how it ended."""
        self._verdict = updates.verdict(answer) or self._verdict
        if self._streams and _is_whole(answer):
            return []
        found = updates.contents(answer)
        if updates.asks_back(found):
            self._verdict = _NEEDS_INPUT
        self._used += updates.usage(found)
        if _is_whole(answer) and answer.usage_details:
            self._used = [*self._course.used, answer.usage_details]
        pieces = [piece for message, content in found for piece in updates.pieces(message, content)]
        return [event for piece in pieces for event in self._narrative.tell(piece)]

    def _terminal(self) -> Sent:
        verdict = self._verdict or COMPLETED
        answer = {"output": self._narrative.output, "usage": output_events.usage(self._used), **verdict.fields}
        session = portable(self._session) if verdict.status is not Status.FAILED else None
        return ended(verdict.status, answer, {"session": session} if session else None)


def ended(status: Status, answer: Mapping[str, Any], legacy: dict[str, Any] | None = None) -> Sent:
    """Return the event that an agent's work has ended."""
    return Sent(None, {"type": f"response.{status}", "response": {"status": str(status), **answer}}, legacy=legacy)


def portable(session: "AgentSession") -> dict[str, Any] | None:
    """Return a session as JSON; None if its state is none."""
    try:
        kept: dict[str, Any] = orjson.loads(orjson.dumps(session.to_dict(), option=orjson.OPT_NON_STR_KEYS))
    except TypeError:
        _log.warning("session.unportable")
        return None
    return kept


def _is_whole(answer: Any) -> bool:
    return hasattr(answer, "messages")
