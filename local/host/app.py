"""Loading an app: its function_app.py, the functions that it registers, and everything the platform would refuse."""

import importlib
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import ModuleType
from typing import TypeVar

import azure.functions as func

from local.host import routes
from local.host.addresses import QueueAddress, address
from local.host.errors import LoadError
from local.host.functions import Function, bind, naming
from local.host.ncrontab import Schedule
from local.host.routes import Route, route_of
from local.host.settings import HostSettings, read_host_json, resolve

logger = logging.getLogger(__name__)

_Source = TypeVar("_Source")
_Made = TypeVar("_Made")


@dataclass(frozen=True)
class QueueTrigger:
    """A function and the queue that starts it."""

    function: Function
    queue: QueueAddress


@dataclass(frozen=True)
class Timer:
    """A function and the schedule that starts it."""

    function: Function
    schedule: Schedule
    runs_on_startup: bool
    is_monitored: bool


@dataclass(frozen=True)
class App:
    """A loaded app, ready to be served."""

    directory: Path
    settings: HostSettings
    routes: tuple[Route, ...]
    queue_triggers: tuple[QueueTrigger, ...]
    timers: tuple[Timer, ...]


def load(directory: Path, environment: Mapping[str, str]) -> App:
    """Import the app in `directory`. Raise LoadError with the problems that prevent it from running."""
    settings = read_host_json(directory / "host.json")
    functions = _each(_registered(_import(directory)), lambda source: bind(source, environment))
    _check_unique(functions)
    found = _each(_started_by(functions, "httpTrigger"), lambda one: _route(one, settings, environment))
    if conflicts := routes.conflicts(found):
        raise LoadError(*conflicts)
    return App(
        directory=directory,
        settings=settings,
        routes=routes.in_order(found),
        queue_triggers=tuple(_each(_started_by(functions, "queueTrigger"), lambda one: _queue(one, environment))),
        timers=tuple(_each(_started_by(functions, "timerTrigger"), lambda one: _timer(one, environment))),
    )


def _import(directory: Path) -> ModuleType:
    sys.path.insert(0, str(directory))
    try:
        return importlib.import_module("function_app")
    except Exception as error:
        logger.exception("app.import_failed")
        raise LoadError(f"function_app.py cannot be imported: {type(error).__name__}: {error}") from error


def _registered(module: ModuleType) -> list[func.Function]:
    """Return the functions of the module's only app.

    The library refuses their names in a second call, so this can be called only once.
    """
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionRegister)]
    if len(apps) != 1:
        raise LoadError(f"function_app.py must have one function app at module level, it has {len(apps)}")
    try:
        functions = apps[0].get_functions()
    except ValueError as error:
        raise LoadError(str(error)) from None
    if not functions:
        raise LoadError("function_app.py registers no function")
    return functions


def _each(sources: Iterable[_Source], make: Callable[[_Source], _Made]) -> list[_Made]:
    """Make something of every source. Raise LoadError with the problems of all of them."""
    made, problems = [], list[str]()
    for source in sources:
        try:
            made.append(make(source))
        except LoadError as refused:
            problems += refused.problems
    if problems:
        raise LoadError(*problems)
    return made


def _check_unique(functions: Iterable[Function]) -> None:
    counts = Counter(function.name.lower() for function in functions)
    problems = [f"{count} functions are named {name}" for name, count in counts.items() if count > 1]
    if problems:
        raise LoadError(*problems)


def _started_by(functions: Iterable[Function], trigger: str) -> list[Function]:
    return [function for function in functions if function.trigger.type == trigger]


def _route(function: Function, settings: HostSettings, environment: Mapping[str, str]) -> Route:
    with naming(function.name):
        template = resolve(function.trigger.fields["route"], environment)
        return route_of(function, template, settings.route_prefix)


def _queue(function: Function, environment: Mapping[str, str]) -> QueueTrigger:
    with naming(function.name):
        return QueueTrigger(function, address(function.trigger, environment))


def _timer(function: Function, environment: Mapping[str, str]) -> Timer:
    fields = function.trigger.fields
    now = datetime.now(UTC)
    with naming(function.name):
        schedule = Schedule(resolve(fields["schedule"], environment), now=now)
    return Timer(
        function=function,
        schedule=schedule,
        runs_on_startup=bool(fields.get("runOnStartup")),
        is_monitored=fields.get("useMonitor") is not False and schedule.is_monitored(now),
    )
