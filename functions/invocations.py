"""What every invocation does beside its own work: it starts a heartbeat if this process has had none for a minute.

The timer alone is not enough. The platform runs it in one instance, and if that instance is killed, in none for up to
two minutes.
"""

from shared.bootstrap import service
from shared.core.errors import SettingsError, StoreError
from shared.runtime.background import BackgroundTasks

_first = BackgroundTasks()  # holds the task in which an invocation without a service gets one


def begin() -> None:
    """Note that an invocation begins. This returns at once and raises nothing, so no health probe fails because of it.

    An invocation may have no need of the service, such as a health probe, and it may still be the only one for long.
    """
    if not _first.tasks:
        _first.start(_accompany())


async def _accompany() -> None:
    try:
        (await service()).engine.accompany_invocation()
    except (StoreError, SettingsError):
        return  # whoever needs the service reports it, and the next invocation tries again
