"""Faults of storage: every call has a deadline, and every fault becomes one error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from azure.core.exceptions import AzureError, ResourceExistsError, ResourceNotFoundError

from shared.core.errors import StoreUnavailable


@asynccontextmanager
async def reaching(deadline_s: float) -> AsyncIterator[None]:
    """Put a deadline in seconds on the calls in the block, and raise StoreUnavailable for every fault of storage.

    "Not found" and "exists already" are answers, not faults. ResourceNotFoundError and ResourceExistsError pass.
    """
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except (ResourceNotFoundError, ResourceExistsError):
        raise
    except (AzureError, TimeoutError) as error:
        raise StoreUnavailable from error
