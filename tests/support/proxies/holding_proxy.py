"""A proxy that holds one request, or its answer, while a test kills the process that waits for it."""

from aiohttp import ClientConnectionError, web

from tests.support.fakes.peers import Gate
from tests.support.proxies.fault_proxy import Fault, Matching, StorageRequest
from tests.support.proxies.lossy_proxy import LossyProxy


class HoldingProxy(LossyProxy):
    """A proxy that can hold a request before or after storage carries it out. A held request gets no answer."""

    def __init__(self, service: str, target_port: int) -> None:
        super().__init__(service, target_port)
        self._holds: list[tuple[Fault, bool, Gate]] = []

    def hold(self, matching: Matching, nth: int = 1, *, carried_out: bool) -> Gate:
        """Hold the n-th matching request from now on, until the returned gate is opened.

        `carried_out` says whether storage carries the request out first.
        """
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
