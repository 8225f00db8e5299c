"""The protocol of an upstream: values that hide content, defaults of both kinds, and which upstream serves a model."""

from collections.abc import AsyncGenerator, Mapping
from typing import Any, Literal

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.contract.identifiers import MAX_ID
from shared.core.errors import UpstreamMissing
from shared.core.records import Record
from shared.core.states import Status
from shared.telemetry.operations import Operation
from shared.upstreams.agents.registry import Agents
from shared.upstreams.agents.upstream import AgentUpstream
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.protocol import (
    BackgroundUpstream,
    Checkpoints,
    ForegroundUpstream,
    Progress,
    Upstream,
    UpstreamEvent,
)
from shared.upstreams.responses_api import BackgroundResponses, ForegroundResponses

SECRET = "geheim"


class Least(ForegroundUpstream):
    """The least that an upstream has to define. It records when it is closed."""

    is_background: Literal[False] = False
    operation = Operation()

    def __init__(self, name: str = "least", closed: list[str] | None = None) -> None:
        self.name = name
        self._closed = [] if closed is None else closed

    def validate(self, request: Mapping[str, Any], previous: Record | None) -> None:
        """Accept every request."""

    async def stop(self, token: str) -> None:
        """Stop nothing."""

    async def stream(
        self, _request: dict[str, Any], _key: str, _checkpoints: Checkpoints
    ) -> AsyncGenerator[UpstreamEvent, None]:
        """Yield one event."""
        yield UpstreamEvent(None, {})

    async def aclose(self) -> None:
        """Record the end."""
        await super().aclose()
        self._closed.append(self.name)


# Values


@pytest.mark.parametrize(
    "value",
    [
        Progress(Status.COMPLETED, None, {"output": SECRET}, "up_1", session={"state": SECRET}),
        UpstreamEvent(1, {"delta": SECRET}, session={"state": SECRET}),
    ],
)
def test_the_content_of_an_answer_is_not_shown(value: object) -> None:
    """A value may be logged. The text of an answer and the state of a session are not part of its `repr`."""
    assert SECRET not in repr(value)


def test_an_event_is_streamed_and_new_unless_it_says_otherwise() -> None:
    """Most events have no session, and belong to a stream that has just begun."""
    event = UpstreamEvent(0, {})
    assert (event.is_whole, event.is_resumed, event.session) == (False, False, None)


@pytest.mark.parametrize("upstream_id", ["up_1", "x", "x" * MAX_ID])
def test_an_event_names_the_response_that_it_is_about(upstream_id: str) -> None:
    """The id is that of the response object in the event."""
    assert UpstreamEvent(None, {"response": {"id": upstream_id}}).response_id == upstream_id


@pytest.mark.parametrize("upstream_id", ["", "x" * (MAX_ID + 1), 7, None, ["up_1"], {}, True])
def test_an_id_that_cannot_be_used_is_no_id(upstream_id: object) -> None:
    """An id has 1 to 1,024 characters, because it becomes part of a row and of a path."""
    assert UpstreamEvent(None, {"response": {"id": upstream_id}}).response_id is None
    assert MAX_ID == 1024


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("id"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "response"]), inner),
    max_leaves=5,
)


@given(st.dictionaries(st.sampled_from(["id", "response", "type"]), json_values))
def test_any_json_object_can_be_an_event(data: dict[str, Any]) -> None:
    """An upstream may send anything. Reading the id never raises, and what it returns is a usable id or None."""
    found = UpstreamEvent(None, data).response_id
    assert found is None or (data["response"]["id"] == found and 1 <= len(found) <= MAX_ID)


# The two kinds


def test_every_upstream_says_which_kind_it_is() -> None:
    """A background upstream can be started and resumed. A foreground upstream has a stream only."""

    async def authorize() -> Mapping[str, str]:
        return {}

    given: list[Upstream] = [
        BackgroundResponses(Endpoint(httpx.AsyncHTTPTransport(), "https://a.example/v1", authorize)),
        ForegroundResponses(Endpoint(httpx.AsyncHTTPTransport(), "https://a.example/v1", authorize)),
        AgentUpstream(Agents("agents")),
        Least(),
    ]
    assert [one.is_background for one in given] == [True, False, False, False]
    for one in given:
        assert isinstance(one.operation, Operation)
        assert (BackgroundUpstream in type(one).__mro__, ForegroundUpstream in type(one).__mro__) == (
            one.is_background,
            not one.is_background,
        )
        assert all(hasattr(one, name) is one.is_background for name in ("start", "resume"))


async def test_an_upstream_that_keeps_nothing_needs_no_more_methods() -> None:
    """By default there is nothing to delete, no credential to check and no connection to close."""
    upstream = Least()
    await upstream.forget("up_1")
    await upstream.check()
    await upstream.aclose()


async def test_earlier_work_of_a_foreground_upstream_is_unknown() -> None:
    """Its work has ended with its stream, so by default a poll finds nothing."""
    with pytest.raises(UpstreamMissing):
        await Least().poll("up_1")


# Which upstream serves a model
