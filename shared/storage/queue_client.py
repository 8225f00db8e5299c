"""A cheaper client of the queues: azure-storage-queue with a shorter pipeline.

A request passes a dozen policies, most of which are off or repeat what the transport does, and which together take
longer than the request. What stays: the authorization, the retries, the headers of storage, and the encoding of
messages and bodies.

A private name is used: `_create_pipeline`. tests/storage/storage/test_queue_client.py fails without it.
"""

from collections.abc import Iterable
from typing import Any

from azure.core.pipeline import AsyncPipeline
from azure.storage.queue.aio import QueueServiceClient

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


class Queues(QueueServiceClient):
    """The library's asynchronous client of the account's queues. The clients of single queues share its pipeline."""

    def _create_pipeline(self, credential: Any = None, **options: Any) -> Any:
        config, pipeline = super()._create_pipeline(credential, **options)
        transport, policies = pipeline._transport, pipeline._impl_policies  # noqa: SLF001 - there is no other way
        return config, AsyncPipeline(transport, policies=lean(policies))


def lean(policies: Iterable[Any]) -> list[Any]:
    """Return the policies of a pipeline without those that do nothing here, in their order."""
    return [policy for policy in policies if type(getattr(policy, "_policy", policy)).__name__ not in _NEEDLESS]
