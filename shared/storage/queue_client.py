"""A cheaper client of the queues: azure-storage-queue with a shorter pipeline."""

from typing import Any

from azure.core.pipeline import AsyncPipeline
from azure.storage.queue.aio import QueueServiceClient

from shared.storage import pipelines


class Queues(QueueServiceClient):
    """The library's asynchronous client of the account's queues. The clients of single queues share its pipeline."""

    def _create_pipeline(self, credential: Any = None, **options: Any) -> Any:
        config, pipeline = super()._create_pipeline(credential, **options)
        transport, policies = pipeline._transport, pipeline._impl_policies  # noqa: SLF001 - there is no other way
        return config, AsyncPipeline(transport, policies=pipelines.lean(policies))
