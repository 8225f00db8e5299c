"""What follows when the client of a foreground call, or of its stream, leaves before the answer is out.

A repeat may join from then on. If the caller has asked for that, the work is cancelled 5 s later unless a repeat has
joined it. A process that dies in between cancels nothing: a deploy resets its calls, which looks like a leaving.
"""

from shared.core.errors import BadRequest, NotFound, StoreError
from shared.foreground.repeats import Repeats
from shared.lifecycle import cancellation
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger

_log = logger(__name__)

CANCEL_AFTER_S = 5.0


class Leaving:
    """The leaving of one client, from the work `response_id`. `cancels` is what its caller has asked for."""

    def __init__(self, ports: Ports, repeats: Repeats, response_id: str, *, cancels: bool) -> None:
        self._ports = ports
        self._repeats = repeats
        self._id = response_id
        self._cancels = cancels

    async def note(self) -> None:
        """Let a repeat join. If storage fails, it may become new work."""
        try:
            await self._repeats.leave(self._id)
        except StoreError:
            _log.warning("call.leaving_unnoted", extra={"response": self._id})
        else:
            _log.info("call.left", extra={"response": self._id})

    async def follow(self) -> None:
        """Cancel the work if the caller has asked for it and no repeat has joined."""
        if not self._cancels:
            return
        await self._ports.clock.sleep(CANCEL_AFTER_S)
        try:
            record = await self._ports.store.read(self._id)
            if record and not record.status.is_terminal and await self._repeats.take(self._id):
                await cancellation.cancel(self._ports, record)
        except (BadRequest, NotFound):
            return  # it has ended meanwhile
        except StoreError:
            _log.warning("call.uncancelled", extra={"response": self._id})
