"""A proxy that loses requests on their way to storage. The sender cannot tell that from a lost answer."""

import aiohttp
from aiohttp import web

from tests.support.proxies.fault_proxy import Fault, FaultProxy, Matching, StorageRequest


class LossyProxy(FaultProxy):
    """A proxy that can drop a connection before storage has received the request. The request is counted."""

    def __init__(self, service: str, target_port: int) -> None:
        super().__init__(service, target_port)
        self._losses: list[Fault] = []

    def lose(self, matching: Matching, nth: int | None = 1) -> Fault:
        """Lose the n-th matching request from now on, or every one (`nth=None`)."""
        loss = Fault(matching, nth)
        self._losses.append(loss)
        return loss

    def heal(self) -> None:
        """Remove all faults and losses."""
        super().heal()
        self._losses.clear()

    async def _forward(self, incoming: web.BaseRequest, request: StorageRequest) -> web.Response:
        if losses := [loss for loss in self._losses if loss.strikes(request)]:
            for loss in losses:
                loss.happened.set()
            raise aiohttp.ClientConnectionError("the request is lost")
        return await super()._forward(incoming, request)
