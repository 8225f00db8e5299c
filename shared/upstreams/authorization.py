"""The headers that authorize a call to the upstream, or the error that there are none."""

import asyncio
from collections.abc import Mapping

from shared.core.errors import UpstreamUnavailable
from shared.core.states import WaitReason
from shared.upstreams.protocol import Authorize

DEADLINE_S = 10.0


async def headers_of(authorize: Authorize) -> Mapping[str, str]:
    """Return the headers for one call. Raise UpstreamUnavailable if no credential is available within 10 s."""
    try:
        async with asyncio.timeout(DEADLINE_S):
            return await authorize()
    except Exception as error:  # without a credential no call can be made, whatever the reason
        raise UpstreamUnavailable("no credential for the upstream", waits_for=WaitReason.CREDENTIALS) from error
