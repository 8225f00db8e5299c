"""Agents of Microsoft Agent Framework as an upstream. A request names one as `model: "agent:<name>"`.

An agent lives in the process that drives its response. If its chat client works in the background, the agent's
continuation token is saved. Unless the response is streamed, the run then pauses until its next alarm. Any other agent
runs to its end. If its process is killed, it starts again, with the results of the tools that had finished. Agent
Framework is imported only where an agent runs.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Literal

import orjson

from shared.core.errors import BadRequest, Misconfigured, UpstreamError, UpstreamRefused, UpstreamUnavailable
from shared.core.records import Record
from shared.core.states import Status
from shared.telemetry import exceptions
from shared.telemetry.logs import logger
from shared.telemetry.operations import Operation
from shared.upstreams.agents import failures, inputs
from shared.upstreams.agents.output_events import OutputBuilder
from shared.upstreams.agents.registry import Agents
from shared.upstreams.agents.run import AgentRun, AgentState, terminal_event
from shared.upstreams.protocol import AGENT_PREFIX, Checkpoints, ForegroundUpstream, UpstreamEvent

if TYPE_CHECKING:
    from agent_framework import Agent

PREFIX = AGENT_PREFIX
STOP_DEADLINE_S = 10.0
_GONE = frozenset({400, 404})

_log = logger(__name__)


class AgentUpstream(ForegroundUpstream):
    """The agents of the deployment. A token is the prefix and a JSON object that names the agent and its work."""

    is_background: Literal[False] = False
    operation = Operation("invoke_agent", "microsoft.agent_framework", "gen_ai.agent.name", PREFIX)

    def __init__(self, agents: Agents) -> None:
        self._agents = agents
        self._without_background: set[str] = set()  # agents whose chat clients have rejected it

    def validate(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Raise BadRequest for an unknown agent, for input that it cannot use, or for a session it cannot continue.

        Raises Misconfigured if the deployment's agents cannot be loaded.
        """
        self._agents.check(_name(request))
        inputs.input_messages(request)
        if previous and (previous.request.model != request["model"] or not previous.session_rows):
            why = "left no session" if previous.session_rows == 0 else f"is one of '{previous.request.model}'"
            raise BadRequest(
                f"Previous response with id '{previous.id}' {why} and cannot be continued by this agent.",
                param="previous_response_id",
                code="session_not_found",
            )

    def names(self) -> list[str]:
        """Return the models of the agents. Raises Misconfigured if they cannot be loaded."""
        return [f"{PREFIX}{name}" for name in self._agents.names()]

    async def stream(
        self, request: dict[str, Any], key: str, checkpoints: Checkpoints
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Run the agent, or resume its work, and yield the answer as events.

        `key` is our id of the response. If the agent raises, the events end with a failed response. Raises
        UpstreamUnavailable if its failure is temporary and the work can be resumed. Other UpstreamErrors pass through.
        """
        state = AgentState(checkpoints, await checkpoints.load(), await checkpoints.previous_session())
        builder = OutputBuilder(key.removeprefix("resp_"), state.output)
        yield _opening_event(key, is_resumed=state.token is not None)
        for event in builder.replay():
            yield UpstreamEvent(None, event)
        try:
            async with aclosing(self._run(request, key, builder, state)) as events:
                async for one in events:
                    yield one
        except UpstreamError:
            raise
        except Exception as error:  # an agent may raise anything
            if state.token and failures.is_temporary(error):
                raise UpstreamUnavailable(type(error).__name__) from error
            failure = failures.error_details(error)
            known = {"response": key, "agent": _name(request), **exceptions.redacted(error)}
            _log.error("agent.failed", extra=known)
        else:
            return
        for event in builder.close():
            yield UpstreamEvent(None, event)
        yield terminal_event(Status.FAILED, {"error": failure, "output": builder.output})

    async def _run(
        self, request: dict[str, Any], key: str, builder: OutputBuilder, state: AgentState
    ) -> AsyncGenerator[UpstreamEvent, None]:
        name = _name(request)
        run = AgentRun(self._create(name), request, builder, state, state.session(key))
        run.asks_background = name not in self._without_background
        try:
            async with aclosing(run.events(lambda token: _stopping_token(name, token))) as events:
                async for one in events:
                    yield one
        finally:
            if not run.asks_background:
                self._without_background.add(name)

    def _create(self, name: str) -> "Agent":
        try:
            return self._agents.create(name)
        except BadRequest as error:
            raise UpstreamRefused(400, error.message, param=error.param, code=error.code) from error
        except Misconfigured as error:
            raise UpstreamUnavailable("the module of agents is broken") from error

    async def stop(self, token: str) -> None:
        """Cancel the background work of the agent's chat client, if its SDK can cancel it.

        Otherwise there is nothing to stop, because the agent ended with its run. A 400 or 404 means that the work has
        ended or is unknown. Raises UpstreamUnavailable if the cancel fails otherwise, or takes over 10 s.
        """
        name, response_id = _work_of(token)
        cancel = _canceller(self._create_to_stop(name)) if response_id else None
        if cancel is None:
            return
        try:
            async with asyncio.timeout(STOP_DEADLINE_S):
                await cancel(response_id)
        except Exception as error:
            if getattr(error, "status_code", None) not in _GONE:
                raise UpstreamUnavailable(type(error).__name__) from error

    def _create_to_stop(self, name: str) -> "Agent | None":
        try:
            return self._create(name)
        except UpstreamRefused:
            return None  # the deployment no longer has this agent


def _name(request: Mapping[str, Any]) -> str:
    return str(request["model"]).removeprefix(PREFIX)


def _opening_event(key: str, *, is_resumed: bool) -> UpstreamEvent:
    answer = {"id": f"{PREFIX}{key}", "status": "in_progress"}
    return UpstreamEvent(None, {"type": "response.in_progress", "response": answer}, is_resumed=is_resumed)


def _stopping_token(name: str, token: Mapping[str, Any]) -> str:
    return PREFIX + orjson.dumps({"agent": name, "token": token}).decode()


def _work_of(token: str) -> tuple[str, str | None]:
    """Return the agent that a token names and the chat client's id of its work, or ("", None) if it names none."""
    try:
        match orjson.loads(token.removeprefix(PREFIX)):
            case {"agent": str(name), "token": {"response_id": str(response_id)}}:
                return name, response_id
    except orjson.JSONDecodeError:
        pass
    return "", None


def _canceller(agent: "Agent | None") -> Callable[[str | None], Awaitable[object]] | None:
    """Return the function of the agent's SDK that cancels a response, or None if the SDK has none."""
    sdk = getattr(getattr(agent, "client", None), "client", None)
    cancel: Callable[[str | None], Awaitable[object]] | None = getattr(getattr(sdk, "responses", None), "cancel", None)
    return cancel
