"""Counts of tokens and compactions: they are asked for where the model is, in the upstream's words."""

import pytest

from shared.core.errors import BadRequest, NotFound
from shared.upstreams.specs import UpstreamSpec
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.fakes.relays import ScriptedRelay
from tests.support.stage import ANN, BOB, Stage


@pytest.mark.parametrize("path", ["/responses/input_tokens", "/responses/compact"])
async def test_a_previous_response_is_named_as_the_upstream_knows_it(stage: Stage, path: str) -> None:
    """It must be the caller's own."""
    ask = stage.engine.compact if path.endswith("compact") else stage.engine.input_tokens
    previous = await stage.ended()
    await ask(ANN, {"model": "m", "previous_response_id": previous.id})
    assert stage.relay.asked == [("POST", path, {"model": "m", "previous_response_id": previous.upstream.id})]
    with pytest.raises(BadRequest):
        await ask(BOB, {"model": "m", "previous_response_id": previous.id})
    with pytest.raises(BadRequest):
        await ask(ANN, {"model": "m", "previous_response_id": 1})
    assert len(stage.relay.asked) == 1


async def test_the_upstream_of_the_model_counts(stage: Stage) -> None:
    """It is the one that would get the request."""
    relay = ScriptedRelay()
    stage.add_upstream(UpstreamSpec("eu", models=("gpt-*",)), ScriptedUpstream(), relay)
    await stage.engine.input_tokens(ANN, {"model": "gpt-5", "input": "q"})
    await stage.engine.input_tokens(ANN, {"model": "m", "input": "q"})
    assert [body for _, _, body in relay.asked] == [{"model": "gpt-5", "input": "q"}]
    assert [body for _, _, body in stage.relay.asked] == [{"model": "m", "input": "q"}]
    previous = await stage.ended()
    with pytest.raises(BadRequest):
        await stage.engine.input_tokens(ANN, {"model": "agent:x", "previous_response_id": "resp_1"})
    await stage.engine.input_tokens(ANN, {"model": "gpt-5", "previous_response_id": previous.id})
    assert len(stage.relay.asked) == 2


async def test_a_model_that_nobody_serves_has_no_tokens(stage: Stage) -> None:
    """The error names the model."""
    stage.treat(models=("m",))
    with pytest.raises(NotFound) as missing:
        await stage.engine.compact(ANN, {"model": "gpt-5", "input": "q"})
    assert missing.value.param == "model"
