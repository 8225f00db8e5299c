"""The endpoint of an upstream: its URL, its headers, its names of models, and the credential of each call."""

import asyncio
from collections.abc import Mapping
from typing import Any

import httpx
import orjson
import pytest

from shared.core.errors import UpstreamUnavailable
from shared.core.states import WaitReason
from shared.upstreams.endpoint import Endpoint
from shared.upstreams.protocol import Authorize
from shared.upstreams.specs import UpstreamSpec

BASE = "https://model.example.com/v1"
TIMES = httpx.Timeout(5.0)


async def headers_of(authorize: Authorize) -> Mapping[str, str]:
    """Return the headers of one call."""
    return await Endpoint(httpx.MockTransport(lambda _: httpx.Response(200)), BASE, authorize).authorization()


async def sent(spec: UpstreamSpec, path: str, body: Mapping[str, Any] | None = None) -> httpx.Request:
    """Return the request of a call as it is sent."""
    requests: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200)

    async def with_key() -> dict[str, str]:
        return {"Authorization": "Bearer key"}

    await Endpoint(httpx.MockTransport(answer), BASE + "/", with_key, spec).send("POST", path, body, {}, TIMES)
    return requests[0]


async def test_a_call_goes_below_the_base_url() -> None:
    """With the credential and the name of this service, and with the version of the API if there is one."""
    request = await sent(UpstreamSpec(), "/responses?stream=true", {"model": "m"})
    assert str(request.url) == f"{BASE}/responses?stream=true"
    assert request.headers["authorization"] == "Bearer key"
    assert request.headers["user-agent"] == "background-responses/1"
    versioned = UpstreamSpec(api_version="preview")
    assert str((await sent(versioned, "/responses")).url) == f"{BASE}/responses?api-version=preview"
    assert str((await sent(versioned, "/x?a=b")).url) == f"{BASE}/x?a=b&api-version=preview"


async def test_a_call_has_the_headers_of_the_settings() -> None:
    """The credential is not one that they can replace."""
    spec = UpstreamSpec(headers={"X-Team": "a", "authorization": "none", "User-Agent": "gateway"})
    headers = (await sent(spec, "/responses")).headers
    assert (headers["x-team"], headers["user-agent"]) == ("a", "gateway")
    assert headers.get_list("authorization") == ["Bearer key"]


async def test_a_model_has_the_name_of_its_upstream() -> None:
    """Other members stay as they are, and so does a model without another name."""
    spec = UpstreamSpec(rename={"fast": "prod-5"})
    assert orjson.loads((await sent(spec, "/responses", {"model": "fast", "input": "fast"})).content) == {
        "model": "prod-5",
        "input": "fast",
    }
    assert orjson.loads((await sent(spec, "/responses", {"model": "slow"})).content) == {"model": "slow"}
    assert orjson.loads((await sent(spec, "/responses", {"metadata": {}})).content) == {"metadata": {}}
    assert (await sent(spec, "/models")).content == b""


async def test_the_headers_are_those_of_the_credential() -> None:
    """They are asked for anew for each call, because a token runs out."""
    tokens = iter(("one", "two"))

    async def authorize() -> dict[str, str]:
        return {"Authorization": f"Bearer {next(tokens)}"}

    assert await headers_of(authorize) == {"Authorization": "Bearer one"}
    assert await headers_of(authorize) == {"Authorization": "Bearer two"}


async def test_a_credential_that_fails_is_an_error_of_the_upstream() -> None:
    """Its text may name a secret, so it is only the cause."""

    async def authorize() -> dict[str, str]:
        raise RuntimeError("secret-of-the-identity")

    with pytest.raises(UpstreamUnavailable) as raised:
        await headers_of(authorize)
    assert str(raised.value) == "no credential for the upstream"
    assert raised.value.waits_for is WaitReason.CREDENTIALS


async def test_a_call_that_is_cancelled_is_no_missing_credential() -> None:
    """The cancellation goes on to whoever asked."""

    async def authorize() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    asking = asyncio.create_task(headers_of(authorize))
    await asyncio.sleep(0)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
