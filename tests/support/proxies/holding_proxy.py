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
        self._pauses: list[tuple[Fault, Gate]] = []

    def hold(self, matching: Matching, nth: int = 1, *, carried_out: bool) -> Gate:
        """Hold the n-th matching request from now on, until the returned gate is opened.

        `carried_out` says whether storage carries the request out first.
        """
        gate = Gate()
        self._holds.append((Fault(matching, nth), carried_out, gate))
        return gate

    def pause(self, matching: Matching, nth: int = 1) -> Gate:
        """Stop the n-th matching request from now on, on its way to storage, until the returned gate is opened."""
        gate = Gate()
        self._pauses.append((Fault(matching, nth), gate))
        return gate

    def heal(self) -> None:
        """Remove all faults, losses, holds and pauses."""
        super().heal()
        self._holds.clear()
        self._pauses.clear()

    async def _forward(self, incoming: web.BaseRequest, request: StorageRequest) -> web.Response:
        for fault, carried_out, gate in self._holds:
            if fault.strikes(request):
                if carried_out:
                    await super()._forward(incoming, request)
                await gate.wait()
                raise ClientConnectionError("let go without an answer")
        for fault, gate in self._pauses:
            if fault.strikes(request):
                await gate.wait()
        return await super()._forward(incoming, request)
