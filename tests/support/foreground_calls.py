"""Foreground calls as their client sees them: the answer is there when the response has ended."""

from shared.contract.callers import Caller
from shared.contract.requests import NewResponse
from shared.engine import Engine
from shared.foreground.clients import Client
from shared.lifecycle.waiting import Shown

PATIENT = Client()


async def called(engine: Engine, caller: Caller, new: NewResponse, key: str | None = None) -> Shown:
    """Make a call, and return its answer when the response has ended."""
    shown = await (await engine.call(caller, new, key, PATIENT)).end()
    assert shown, "the client has left"
    return shown
