"""The list of models: those that callers may name, wherever they are served."""

import pytest

from shared.core.errors import NotFound, Unavailable, UpstreamRefused, UpstreamUnavailable
from shared.upstreams.specs import UpstreamSpec
from tests.support.fakes.peers import ScriptedUpstream
from tests.support.fakes.relays import ScriptedRelay
from tests.support.stage import Stage

EU = UpstreamSpec("eu", models=("gpt-*", "fast"), rename={"fast": "prod-5"})


@pytest.fixture
def eu(stage: Stage) -> ScriptedRelay:
    """Add an upstream to the settings, and return its relay."""
    relay = ScriptedRelay()
    stage.add_upstream(EU, ScriptedUpstream(), relay)
    relay.answers["/models"] = {"data": [{"id": "gpt-5"}, {"id": "o4"}, {"id": "prod-5"}]}
    stage.relay.answers["/models"] = {"data": [{"id": "gpt-5"}, {"id": "o4", "owned_by": "us"}]}
    return relay


async def names(stage: Stage) -> list[str]:
    """Return the models that a caller sees."""
    return [one["id"] for one in (await stage.engine.models())["data"]]


async def test_agents_stand_beside_the_upstreams_models(stage: Stage) -> None:
    """An upstream without a list has none, and agents are known without a call."""

    class Agents:
        is_background = False

        def names(self) -> list[str]:
            return ["agent:clerk"]

    stage.register_agent("agent:", Agents())  # type: ignore[arg-type]
    stage.relay.answers["/models"] = {"object": "list", "data": [{"id": "m"}, "odd"]}
    listed = await stage.engine.models()
    assert [one["id"] for one in listed["data"]] == ["m", "agent:clerk"]
    stage.relay.errors = [UpstreamRefused(404, "No such path.")]
    assert [one["id"] for one in (await stage.engine.models())["data"]] == ["agent:clerk"]
    stage.relay.errors = [UpstreamRefused(501, "Not implemented.")]
    assert [one["id"] for one in (await stage.engine.models())["data"]] == ["agent:clerk"]
    before = len(stage.relay.asked)
    assert (await stage.engine.model("agent:clerk"))["object"] == "model"
    assert len(stage.relay.asked) == before


async def test_a_models_name_is_one_segment_of_the_path(stage: Stage) -> None:
    """It cannot lead to another path of the upstream."""
    await stage.engine.model("../a?b")
    assert stage.relay.asked == [("GET", "/models/..%2Fa%3Fb", None)]


@pytest.mark.usefixtures("eu")
async def test_each_model_is_listed_once_where_it_is_served(stage: Stage) -> None:
    """What another upstream serves is left out, and so are names that only the upstream knows."""
    assert await names(stage) == ["gpt-5", "fast", "o4"]
    assert (await stage.engine.models())["data"][2]["owned_by"] == "us"


async def test_an_upstream_that_is_away_hides_no_other(stage: Stage, eu: ScriptedRelay) -> None:
    """What the settings name is listed. If none can be asked, the list is unavailable."""
    eu.errors = [UpstreamUnavailable("ConnectError")]
    assert await names(stage) == ["fast", "o4"]
    eu.errors, stage.relay.errors = [UpstreamUnavailable("x")], [UpstreamUnavailable("y")]
    with pytest.raises(Unavailable):
        await names(stage)


async def test_a_model_is_asked_for_by_its_own_name(stage: Stage, eu: ScriptedRelay) -> None:
    """The answer has the caller's name."""
    eu.answers["/models/prod-5"] = {"id": "prod-5", "object": "model"}
    assert await stage.engine.model("fast") == {"id": "fast", "object": "model"}
    await stage.engine.model("o4")
    assert stage.relay.asked == [("GET", "/models/o4", None)]


async def test_a_model_that_nobody_serves_does_not_exist(stage: Stage) -> None:
    """No upstream is asked."""
    stage.treat(models=("m",))
    with pytest.raises(NotFound) as missing:
        await stage.engine.model("gpt-5")
    assert missing.value.code == "model_not_found"
    assert stage.relay.asked == []
