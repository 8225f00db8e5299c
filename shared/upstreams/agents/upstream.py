"""Agents of Microsoft Agent Framework as an upstream: `model: "agent:<name>"`.

An agent lives in the runner that drives its response. Where its chat client works in the background, the agent's own
continuation token is kept, and the run is left until a later look; any other agent is run to its end, and begun anew
if its process dies, with the results of the tools that had finished. Agent Framework is imported where an agent is run.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import orjson

from shared.core.errors import (
    BadRequest,
    Misconfigured,
    UpstreamError,
    UpstreamMissing,
    UpstreamRefused,
    UpstreamUnavailable,
)
from shared.core.records import Record
from shared.core.states import Status
from shared.telemetry import exceptions
from shared.telemetry.logs import logger
from shared.telemetry.operations import Operation
from shared.upstreams.agents import failures, inputs
from shared.upstreams.agents.output_events import Narrative
from shared.upstreams.agents.registry import Agents
from shared.upstreams.agents.run import AgentRun, Course, ended
from shared.upstreams.protocol import Memory, Sent, Step

if TYPE_CHECKING:
    from agent_framework import Agent

PREFIX = "agent:"
STOP_DEADLINE_S = 10.0
_GONE = frozenset({400, 404})

_log = logger(__name__)


class AgentUpstream:
    """The agents of the deployment. A token of theirs is the prefix and, as JSON, whose work it stops, and which."""

    replays = False
    operation = Operation("invoke_agent", "microsoft.agent_framework", "gen_ai.agent.name", PREFIX)

    def __init__(self, agents: Agents) -> None:
        self._agents = agents
        self._without_background: set[str] = set()  # the agents whose chat clients have refused it

    def admit(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Raise BadRequest about an unknown agent, about input it cannot be given, or a session it cannot continue."""
        self._agents.check(_name(request))
        inputs.messages(request)
        if previous and (previous.model != request["model"] or not previous.legacy_rows):
            why = "left no session" if previous.legacy_rows == 0 else f"is one of '{previous.model}'"
            raise BadRequest(
                f"Previous response with id '{previous.id}' {why} and cannot be continued by this agent.",
                param="previous_response_id",
                code="session_not_found",
            )

    async def start(self, _request: dict[str, Any], _key: str) -> Step:
        """Raise UpstreamUnavailable: an agent is run."""
        raise UpstreamUnavailable("an agent is run")

    async def advance(self, _token: str) -> Step:
        """Raise UpstreamMissing: what an agent does is known where it runs."""
        raise UpstreamMissing

    async def run(self, request: dict[str, Any], key: str, memory: Memory) -> AsyncGenerator[Sent, None]:
        """Run the agent, or go on with what it has begun, and give its answer as events."""
        course = Course(memory, await memory.recall(), await memory.inherited())
        narrative = Narrative(key.removeprefix("resp_"), course.told)
        yield _opening(key, continues=course.token is not None)
        for event in narrative.begin():
            yield Sent(None, event)
        try:
            async with aclosing(self._worked(request, key, narrative, course)) as told:
                async for one in told:
                    yield one
        except UpstreamError:
            raise
        except Exception as error:  # whatever an agent raises
            if course.token and failures.is_passing(error):
                raise UpstreamUnavailable(type(error).__name__) from error
            failure = failures.told(error)
            known = {"response": key, "agent": _name(request), **exceptions.logged(error)}
            _log.error("agent.failed", extra=known)
        else:
            return
        for event in narrative.end():
            yield Sent(None, event)
        yield ended(Status.FAILED, {"error": failure, "output": narrative.output})

    async def _worked(
        self, request: dict[str, Any], key: str, narrative: Narrative, course: Course
    ) -> AsyncGenerator[Sent, None]:
        name = _name(request)
        run = AgentRun(self._made(name), request, narrative, course, course.session(key))
        run.asks_background = name not in self._without_background
        try:
            async with aclosing(run.events(lambda token: _token(name, token))) as told:
                async for one in told:
                    yield one
        finally:
            if not run.asks_background:
                self._without_background.add(name)

    def _made(self, name: str) -> "Agent":
        try:
            return self._agents.made(name)
        except BadRequest as error:
            raise UpstreamRefused(400, error.message, param=error.param, code=error.code) from error
        except Misconfigured as error:
            raise UpstreamUnavailable("the module of agents is broken") from error

    def follow(self, _token: str, _after: int | None) -> AsyncGenerator[Sent, None]:
        """Raise UpstreamMissing: whoever holds the run goes on with it."""
        raise UpstreamMissing

    async def stop(self, token: str) -> None:
        """Cancel what the agent's chat client has under way in the background, if it can be told to.

        Nothing where there is no such work, or no way: the agent itself ended with its run.
        """
        name, response_id = _stoppable(token)
        cancel = _canceller(self._made_to_stop(name)) if response_id else None
        if cancel is None:
            return
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await cancel(response_id)
        except Exception as error:
            if getattr(error, "status_code", None) not in _GONE:
                raise UpstreamUnavailable(type(error).__name__) from error

    def _made_to_stop(self, name: str) -> "Agent | None":
        try:
            return self._made(name)
        except UpstreamRefused:
            return None  # the deployment has dropped it

    async def forget(self, upstream_id: str) -> None:
        """Forget nothing: the session went with the rows of the response."""

    async def check(self) -> None:
        """Find nothing missing: credentials are the agents' own."""

    async def aclose(self) -> None:
        """Close nothing: each agent was closed at the end of its run."""


def _name(request: Mapping[str, Any]) -> str:
    return str(request["model"]).removeprefix(PREFIX)


def _opening(key: str, *, continues: bool) -> Sent:
    answer = {"id": f"{PREFIX}{key}", "status": "in_progress"}
    return Sent(None, {"type": "response.in_progress", "response": answer}, continues=continues)


def _token(name: str, token: Mapping[str, Any]) -> str:
    return PREFIX + orjson.dumps({"agent": name, "token": token}).decode()


def _stoppable(token: str) -> tuple[str, str | None]:
    """Return whose work a token stops, and what its chat client calls that; None if there is nothing to stop."""
    try:
        match orjson.loads(token.removeprefix(PREFIX)):
            case {"agent": str(name), "token": {"response_id": str(response_id)}}:
                return name, response_id
    except orjson.JSONDecodeError:
        pass
    return "", None


def _canceller(agent: "Agent | None") -> Callable[[str | None], Awaitable[object]] | None:
    """Return what cancels a response of the SDK under the agent's chat client, if it is one that can."""
    sdk = getattr(getattr(agent, "client", None), "client", None)
    cancel: Callable[[str | None], Awaitable[object]] | None = getattr(getattr(sdk, "responses", None), "cancel", None)
    return cancel
