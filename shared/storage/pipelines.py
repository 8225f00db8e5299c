"""Shorter pipelines for the libraries of Azure Storage.

A request passes a dozen policies, most of which are off or repeat what the transport does, and which together take
longer than the request. What stays: the authorization, the retries, the headers of storage, and the encoding of
messages and bodies.

Two private names are used: `_configure_policies` of the table's client, and `_create_pipeline` of the queues'.
tests/storage/storage/test_pipelines.py fails if a later version drops them.
"""

from collections.abc import Iterable
from typing import Any

_NEEDLESS = {
    "RequestIdPolicy",  # the id is in no log of ours
    "UserAgentPolicy",
    "ProxyPolicy",  # the transport has none
    "AsyncRedirectPolicy",  # storage does not redirect
    "CustomHookPolicy",
    "StorageRequestHook",
    "AsyncStorageResponseHook",
    "NetworkTraceLoggingPolicy",
    "StorageLoggingPolicy",
    "HttpLoggingPolicy",
    "DistributedTracingPolicy",  # spans of calls to storage are our own
    "RangeHeaderPolicy",  # of blobs
    "AsyncContentValidationPolicy",  # of blobs
    "StorageSensitiveHeaderCleanupPolicy",  # for redirects
}


def lean(policies: Iterable[Any]) -> list[Any]:
    """Return the policies of a pipeline without those that do nothing here, in their order."""
    return [policy for policy in policies if type(getattr(policy, "_policy", policy)).__name__ not in _NEEDLESS]
