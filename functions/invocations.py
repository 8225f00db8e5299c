"""What every invocation does beside its own work: it starts a heartbeat if this process has had none for a minute.

The timer alone is not enough. The platform runs it in one instance, and if that instance is killed, in none for up to
two minutes.
"""

import asyncio

from shared.bootstrap import service, works_between_invocations
from shared.core.errors import SettingsError, StoreError
from shared.runtime.background import BackgroundTasks

WAIT_S = 2.0  # for a heartbeat, where nothing may go on after an invocation

_first = BackgroundTasks()  # holds the task in which an invocation without a service gets one


async def begin(*, works_between: bool | None = None) -> None:
    """Note that an invocation begins. This raises nothing, and returns at once if a process may work between them.

    If it may not, the heartbeat has to end within the invocation, which waits for it, 2 s at most. `works_between` is
    the setting, unless it is given. An invocation may have no need of the service, such as a health probe, and it may
    still be the only one for long.
    """
    if not _first.tasks:
        _first.start(_accompany())
    if not (works_between_invocations() if works_between is None else works_between):
        await asyncio.wait(_first.tasks, timeout=WAIT_S)


async def _accompany() -> None:
    try:
        heartbeat = (await service()).engine.accompany_invocation()
    except (StoreError, SettingsError):
        return  # a function that needs the service reports it, and the next invocation tries again
    if heartbeat:
        await asyncio.wait([heartbeat])
