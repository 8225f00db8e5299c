"""Polls without a response object: errors in words, refusals, answers that cannot be read. They end the response."""

import pytest

from shared.core.errors import (
    UpstreamFailed,
    UpstreamInvalid,
    UpstreamRedirected,
    UpstreamRefused,
    UpstreamUndecodable,
    UpstreamUnnamed,
)
from shared.core.states import Status
from tests.storage.lifecycle.test_polling import OUTAGE, error_code, running, waits_s
from tests.support.clocks import START_MS
from tests.support.stage import Stage


async def test_a_poll_that_stays_refused_ends_the_response_in_the_upstreams_words(stage: Stage) -> None:
    """A server without GET, or one that no longer has the response, says so with a 4xx. Two minutes are tolerated."""
    refusal = UpstreamRefused(400, "Responses are not stored here.", code="no_store")
    made = await running(stage, *[refusal] * 5, Status.IN_PROGRESS, refusal)
    failed = await stage.finish(made.id)
    assert failed.ended_ms - START_MS > 120_000
    error = (await stage.shown(made.id))["error"]
    assert (error["code"], error["message"]) == ("no_store", "Responses are not stored here.")


async def test_an_error_in_place_of_an_answer_ends_the_response_at_the_third_time(stage: Stage) -> None:
    """The response fails with the upstream's code and message. A gateway that says so twice in a row is tolerated.

    An outage in between neither counts nor makes good.
    """
    error = UpstreamFailed("exhausted", "Resources are exhausted.")
    made = await running(stage)
    stage.upstream.poll_errors = [*[OUTAGE] * 3, error, error]
    assert await waits_s(stage, made.id, 6) == [1, 1, 1, 2, 4, 8]
    stage.upstream.poll_errors = [error, OUTAGE, error, error]
    await stage.finish(made.id)
    assert await error_code(stage, made.id) == "exhausted"
    assert (await stage.shown(made.id))["error"]["message"] == "Resources are exhausted."


@pytest.mark.parametrize("error", [UpstreamInvalid(), UpstreamUndecodable(), UpstreamUnnamed()])
async def test_an_answer_that_cannot_be_read_ends_the_response_at_the_third_time(
    stage: Stage, error: UpstreamInvalid
) -> None:
    """Another poll would get the same. The response fails with what is wrong with the answer."""
    made = await running(stage)
    stage.upstream.poll_errors = [error, error]
    assert await waits_s(stage, made.id, 3) == [1, 1, 1]
    stage.upstream.poll_errors = [error] * 3
    await stage.finish(made.id)
    assert stage.upstream.poll_errors == []
    assert await error_code(stage, made.id) == "upstream_invalid"
    assert (await stage.shown(made.id))["error"]["message"] == error.message


async def test_a_redirect_ends_the_response_at_once(stage: Stage) -> None:
    """No later poll would be answered otherwise, and the response would wait for its deadline."""
    made = await running(stage)
    stage.upstream.poll_errors = [UpstreamRedirected()]
    await stage.fire_alarms(made.id)
    assert await error_code(stage, made.id) == "upstream_redirected"
