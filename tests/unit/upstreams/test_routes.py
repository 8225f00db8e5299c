"""Routes: which upstream serves a model, and which one has taken a response."""

from dataclasses import replace
from typing import cast

import pytest

from shared.core.alarms import Alarm, Kind
from shared.core.errors import NotFound, UpstreamUnavailable
from shared.core.gates.state import Gate
from shared.core.records import Record, RequestInfo, UpstreamInfo
from shared.upstreams.agents.upstream import PREFIX
from shared.upstreams.protocol import Upstream
from shared.upstreams.routes import Route, Upstreams
from shared.upstreams.specs import UpstreamSpec
from tests.unit.upstreams.test_protocol import Least

EU = UpstreamSpec("eu", models=("gpt-*",), then=("us", "default"))
US = UpstreamSpec("us", models=("gpt-5", "o4"))
RECORD = Record("resp_" + "a" * 32, "ann", 0, 0, request=RequestInfo(model="gpt-5"))
ALARM = Alarm(0, Kind.POLL, RECORD.id, token="up_1")


def upstreams(*closed: list[str]) -> Upstreams:
    """Return the upstreams of a deployment with two named ones, the default one, agents and flows."""
    routes = [Route(Least("eu", *closed), EU), Route(Least("us", *closed), US), Route(Least("default", *closed))]
    return Upstreams(routes, {PREFIX: Least("agents", *closed), "flow:": Least("flows", *closed)})


def name_of(found: Route | None) -> str | None:
    """Return the name of the upstream of a route."""
    return cast("Least", found.upstream).name if found else None


def taken_by(name: str, model: str | None = "gpt-5") -> Record:
    """Return a response that an upstream has taken."""
    return replace(RECORD, request=RequestInfo(model=model), upstream=UpstreamInfo(name=name))


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("gpt-5", "eu"),
        ("o4", "us"),
        ("claude", "default"),
        ("", "default"),
        (None, "default"),
        ("agent", "default"),
        ("Agent:clerk", "default"),
        ("agent:clerk", "agents"),
        ("agent:", "agents"),
        ("flow:x", "flows"),
    ],
)
def test_the_first_upstream_that_serves_a_model_gets_it(model: str | None, expected: str) -> None:
    """In the order of the settings. Agents have a prefix, which no pattern takes from them."""
    assert name_of(upstreams().serving(model)) == expected


def test_a_model_that_no_upstream_serves_does_not_exist() -> None:
    """The error is that of OpenAI for an unknown model."""
    only = Upstreams([Route(Least("us"), US)])
    assert only.serving("claude") is None
    with pytest.raises(NotFound) as raised:
        only.route("claude")
    assert (raised.value.param, raised.value.code) == ("model", "model_not_found")


def test_a_response_stays_with_the_upstream_that_took_it() -> None:
    """Whatever the settings say about its model now. A record without a name has the default one."""
    assert name_of(upstreams().of(taken_by("us"))) == "us"
    assert name_of(upstreams().of(taken_by(""))) == "default"
    assert name_of(upstreams().of(taken_by("", "agent:clerk"))) == "agents"
    assert name_of(upstreams().of(taken_by("eu", "agent:clerk"))) == "eu"


def test_an_alarm_leads_to_the_upstream_that_issued_its_token() -> None:
    """By the name, and for agents by the prefix of the token."""
    assert name_of(upstreams().of_alarm(replace(ALARM, upstream="us"))) == "us"
    assert name_of(upstreams().of_alarm(ALARM)) == "default"
    assert name_of(upstreams().of_alarm(replace(ALARM, token='agent:{"agent":"clerk"}'))) == "agents"


async def test_an_upstream_that_was_removed_only_fails() -> None:
    """The error names it. A deployment without a default upstream has removed that."""
    for name, told in (("gone", "'gone'"), ("", "'default'")):
        route = Upstreams([Route(Least("us"), US)]).of(taken_by(name))
        assert not route.spec.serves("gpt-5")
        assert route.name == name
        with pytest.raises(UpstreamUnavailable, match=told):
            await route.upstream.poll("up_1")


def test_the_others_of_a_response_are_those_that_the_settings_name() -> None:
    """The upstream that serves the model comes first, then those behind its `then`. Its own is left out."""
    assert [name_of(route) for route in upstreams().others(taken_by("eu"))] == ["us", "default"]
    assert [name_of(route) for route in upstreams().others(taken_by("us"))] == ["eu", "default"]
    assert upstreams().others(taken_by("us", "o4")) == ()
    assert upstreams().others(taken_by("", "agent:clerk")) == ()


def test_the_upstreams_of_a_deployment_are_fixed() -> None:
    """A later change of the mapping that was given has no effect."""
    agents: dict[str, Upstream] = {"flow:": Least("flows")}
    found = Upstreams([Route(Least("default"))], agents)
    agents[PREFIX] = Least("agents")
    assert name_of(found.serving("agent:clerk")) == "default"


async def test_all_upstreams_are_closed_once() -> None:
    """Those of the settings, and the agents."""
    closed: list[str] = []
    await upstreams(closed).aclose()
    assert sorted(closed) == ["agents", "default", "eu", "flows", "us"]


# Gates


def test_a_response_passes_one_gate() -> None:
    """That of its upstream, or that of its model if the limit has a pattern for it. Agents pass none."""
    spec = UpstreamSpec("eu", limits={"*": 40, "big-*": 2})
    route = Route(Least("eu"), spec)
    assert route.gate("gpt-5") == Gate("eu", 40)
    assert route.gate(None) == Gate("eu", 40)
    assert route.gate("big-5") == Gate("eu/big-*", 2)
    assert Route(Least("us"), UpstreamSpec("us", limits={"big": 2})).gate("gpt-5") == Gate("us", None)
    agents = upstreams().serving("agent:clerk")
    assert agents
    assert agents.gate("agent:clerk") is None


def test_a_gate_is_found_by_its_name() -> None:
    """One that the settings no longer have lets everything through."""
    found = Upstreams([Route(Least("eu"), UpstreamSpec("eu", limits={"*": 40, "big-*": 2})), Route(Least("default"))])
    assert found.gate_named("eu") == Gate("eu", 40)
    assert found.gate_named("eu/big-*") == Gate("eu/big-*", 2)
    assert found.gate_named("default") == Gate("default", None)
    assert found.gate_named("eu/small") == Gate("eu/small", None, is_gone=True)
    assert found.gate_named("us") == Gate("us", None, is_gone=True)
    assert found.of(taken_by("us")).gate("gpt-5") == Gate("us", None, is_gone=True)
