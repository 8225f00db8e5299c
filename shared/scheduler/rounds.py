"""Rounds of gates: once a minute, what is free goes to the lines, and what deaths have left behind is mended."""

import asyncio

from shared.core.errors import StoreError, UnreadableRow
from shared.runtime.ports import Ports
from shared.telemetry.logs import logger

_log = logger(__name__)


async def run_rounds(ports: Ports) -> None:
    """Run a round of each gate that has rows.

    If there are none, this costs one query. A gate that storage does not serve stops no other. Raises nothing of
    storage.
    """
    try:
        names = await ports.gates.registered()
    except StoreError:
        _log.warning("gates.missed")
        return
    await asyncio.gather(*(_round(ports, name) for name in names))


async def _round(ports: Ports, name: str) -> None:
    try:
        seen = await ports.gates.round(ports.upstreams.gate_named(name))
    except (StoreError, UnreadableRow) as error:
        _log.warning("gate.missed", extra={"gate": name, "reason": type(error).__name__})
        return
    if seen:  # how long its line is, which nothing else tells
        _log.info("gate.seen", extra={"gate": name, "phase": seen.phase, "used": seen.used, "waiting": seen.waiting})
