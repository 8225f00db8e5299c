"""The authorization of a call: the headers of the credential, or an error that says what is missing."""

import asyncio

import pytest

from shared.core.errors import UpstreamUnavailable
from shared.core.states import WaitReason
from shared.upstreams.authorization import headers_of


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
