"""A proxy that holds one request, or its answer, for as long as a test likes: time to kill whoever waits for it."""

from aiohttp import ClientConnectionError, web

from tests.support.fakes.peers import Gate
from tests.support.proxies.fault_proxy import Fault, Matching, StorageRequest
from tests.support.proxies.lossy_proxy import LossyProxy


class HoldingProxy(LossyProxy):
    """A proxy at which a request can stop before storage has seen it, or after; when let go, it gets no answer."""

    def __init__(self, service: str, target_port: int) -> None:
        super().__init__(service, target_port)
        self._holds: list[tuple[Fault, bool, Gate]] = []

    def hold(self, matching: Matching, nth: int = 1, *, carried_out: bool) -> Gate:
        """Stop the n-th matching request from now on: before storage carries it out, or after that."""
        gate = Gate()
        self._holds.append((Fault(matching, nth), carried_out, gate))
        return gate

    async def _forward(self, incoming: web.BaseRequest, request: StorageRequest) -> web.Response:
        for fault, carried_out, gate in self._holds:
            if fault.strikes(request):
                if carried_out:
                    await super()._forward(incoming, request)
                await gate.wait()
                raise ClientConnectionError("let go without an answer")
        return await super()._forward(incoming, request)
