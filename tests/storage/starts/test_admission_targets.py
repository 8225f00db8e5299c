"""Admission of targets: to which URLs and queues the event about a response may be sent."""

from typing import Any

import orjson
import pytest

from shared.contract.callers import Caller, SigningSecret
from shared.contract.requests import NewResponse, parse_request
from shared.core.errors import BadRequest
from shared.core.records import Target
from shared.senders.url_policy import CallbackUrlRefused
from shared.starts.admission import check_targets
from tests.support.clocks import START_MS
from tests.support.fakes.peers import ScriptedReceiver
from tests.support.stage import ANN, CALLBACK_URL, SECRET, Stage


def asked(**fields: Any) -> NewResponse:
    """Return a checked request with these fields."""
    return parse_request(orjson.dumps({"model": "m", "input": "question", **fields}))


@pytest.mark.parametrize(
    ("fields", "param", "code"),
    [
        ({"callback_url": "http://hooks.contoso.com/"}, "callback_url", "callback_url_scheme"),
        ({"callback_url": "https://127.0.0.1/"}, "callback_url", "callback_url_address"),
        ({"metadata": {"callback_url": "https://169.254.169.254/"}}, "callback_url", "callback_url_address"),
        ({"reply_to": "nudges"}, "reply_to", "queue_not_allowed"),
        ({"metadata": {"reply_to": "others"}}, "reply_to", "queue_not_allowed"),
    ],
)
async def test_a_target_that_is_not_allowed_is_refused_at_once(
    stage: Stage, fields: dict[str, Any], param: str, code: str
) -> None:
    """The refusal of a callback URL or reply queue names the field. Neither storage nor the upstream is called."""
    before = stage.proxy.counts.copy()
    with pytest.raises(BadRequest) as refused:
        await stage.create(**fields)
    assert (refused.value.param, refused.value.code) == (param, code)
    assert stage.upstream.starts == {}
    assert stage.proxy.counts == before


async def test_callbacks_need_a_secret_and_an_allowed_host(stage: Stage) -> None:
    """A callback is refused if its caller has no valid signing secret or does not allow its host."""
    for caller, code in (
        (Caller("ann", (), ()), "callback_url_unsigned"),
        (Caller("ann", (), (SigningSecret(SECRET, START_MS),)), "callback_url_unsigned"),
        (Caller("ann", (), ANN.secrets, ("fabrikam.com",)), "callback_url_host_denied"),
    ):
        with pytest.raises(BadRequest) as refused:
            await stage.create(caller, callback_url=CALLBACK_URL)
        assert refused.value.code == code


async def test_the_rules_of_the_deployment_decide_where_callbacks_may_go(stage: Stage) -> None:
    """Our own hosts are never called back. A loopback address is, if the deployment allows it."""
    local, ours = asked(callback_url="http://127.0.0.1:8080/"), asked(callback_url="https://app.contoso.com/")
    await check_targets(stage.ports, ANN, ours)
    with pytest.raises(BadRequest) as refused:
        await check_targets(stage.ports, ANN, local)
    assert refused.value.code == "callback_url_scheme"
    stage.rule(allow_loopback=True, own_hosts=frozenset({"app.contoso.com"}))
    await check_targets(stage.ports, ANN, local)
    with pytest.raises(BadRequest) as refused:
        await check_targets(stage.ports, ANN, ours)
    assert (refused.value.param, refused.value.code) == ("callback_url", "callback_url_host_denied")


async def test_a_url_that_its_sender_cannot_reach_is_refused(stage: Stage) -> None:
    """If the sender of callbacks knows that nothing can be sent to a URL, the request is refused with its reason."""

    class Unreachable(ScriptedReceiver):
        async def vet(self, _address: str) -> None:
            raise CallbackUrlRefused("address", "It has no public address.")

    stage.change(senders={Target.CALLBACK: Unreachable(), Target.REPLY_QUEUE: stage.replies})
    await check_targets(stage.ports, ANN, asked(reply_to="replies-1"))
    with pytest.raises(BadRequest, match="It has no public address") as refused:
        await check_targets(stage.ports, ANN, asked(callback_url=CALLBACK_URL))
    assert (refused.value.param, refused.value.code) == ("callback_url", "callback_url_address")


async def test_a_request_with_too_many_credentials_is_refused(stage: Stage) -> None:
    """Each would be looked for in everything that the upstream says. No known tool has more than a few."""
    tools = [{"type": "mcp", "server_label": "a", "authorization": f"secret-{n:04d}"} for n in range(1_001)]
    assert (await stage.create(tools=tools[1:])).request.has_credentials
    with pytest.raises(BadRequest, match="1000 credentials") as refused:
        await stage.create(tools=tools)
    assert refused.value.code == "invalid_value"
