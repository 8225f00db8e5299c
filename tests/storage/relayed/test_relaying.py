"""Calls that are passed on: errors keep their meaning, and nothing internal is told."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from shared.contract.callers import Caller
from shared.core.errors import (
    NotFound,
    RefusedByUpstream,
    ServiceError,
    Unavailable,
    UpstreamRefused,
    UpstreamUnavailable,
)
from shared.engine import Engine
from tests.support.stage import ANN, Stage

REFUSAL = UpstreamRefused(400, "No.", param="input", code="wrong")

Ask = Callable[[Engine, Caller], Awaitable[Any]]
COUNT: Ask = lambda engine, caller: engine.input_tokens(caller, {"model": "m", "input": "q"})  # noqa: E731
COMPACT: Ask = lambda engine, caller: engine.compact(caller, {"model": "m", "input": "q"})  # noqa: E731
MODELS: Ask = lambda engine, _: engine.model("m/1")  # noqa: E731
every_call = pytest.mark.parametrize("ask", [COUNT, COMPACT, MODELS], ids=["count", "compact", "model"])


@every_call
async def test_a_refusal_is_passed_on(stage: Stage, ask: Ask) -> None:
    """It has the upstream's status and words."""
    stage.relay.errors = [REFUSAL]
    with pytest.raises(RefusedByUpstream) as refused:
        await ask(stage.engine, ANN)
    assert (refused.value.status, refused.value.param, refused.value.message) == (400, "input", "No.")


@every_call
async def test_an_upstream_that_cannot_be_asked_is_unavailable(stage: Stage, ask: Ask) -> None:
    """The caller may try again, and learns nothing internal."""
    stage.relay.errors = [UpstreamUnavailable("ConnectError")]
    with pytest.raises(Unavailable) as unavailable:
        await ask(stage.engine, ANN)
    assert unavailable.value.retry_after_s
    assert "ConnectError" not in unavailable.value.message


@every_call
@pytest.mark.parametrize(("status", "error"), [(302, Unavailable), (501, NotFound)])
async def test_a_status_that_is_not_for_the_caller_is_not_passed_on(
    stage: Stage, ask: Ask, status: int, error: type[ServiceError]
) -> None:
    """A redirect cannot be followed. 501 says that the upstream offers no such calls."""
    stage.relay.errors = [UpstreamRefused(status, "Elsewhere.")]
    with pytest.raises(error) as refused:
        await ask(stage.engine, ANN)
    assert "Elsewhere." not in refused.value.message


async def test_agents_answer_no_such_calls(stage: Stage) -> None:
    """They count no tokens, and a model of theirs is no path of an upstream."""
    stage.register_agent("agent:", stage.upstream)  # type: ignore[arg-type]
    with pytest.raises(NotFound):
        await stage.engine.input_tokens(ANN, {"model": "agent:clerk", "input": "q"})
    assert stage.relay.asked == []
