"""Faults of storage: every call has a deadline, and every fault becomes one error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from azure.core.exceptions import AzureError, HttpResponseError, ResourceExistsError, ResourceNotFoundError

from shared.core.errors import StoreError, StoreRefused, StoreUnavailable

# The operation is malformed, or too large. Storage would say so again:
# https://learn.microsoft.com/rest/api/storageservices/common-rest-api-error-codes
_REFUSED = frozenset({400, 413, 414})
_STALE = "PopReceiptMismatch"  # a 400 about a message that another reader has by now


def fault_of(error: BaseException) -> StoreError:
    """Return what an error of a client of storage means: a refusal of what was asked, or that storage is away."""
    is_refusal = isinstance(error, HttpResponseError) and error.status_code in _REFUSED
    is_stale = getattr(error, "error_code", None) == _STALE
    return StoreRefused("storage refuses this") if is_refusal and not is_stale else StoreUnavailable()


@asynccontextmanager
async def reaching(deadline_s: float) -> AsyncIterator[None]:
    """Put a deadline in seconds on the calls in the block, and raise StoreUnavailable for every fault of storage.

    A refusal that would come again is StoreRefused. "Not found" and "exists already" are answers, not faults:
    ResourceNotFoundError and ResourceExistsError pass.
    """
    try:
        async with asyncio.timeout(deadline_s):
            yield
    except (ResourceNotFoundError, ResourceExistsError):
        raise
    except (AzureError, TimeoutError) as error:
        raise fault_of(error) from error
