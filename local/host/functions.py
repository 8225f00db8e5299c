"""One function of the app, checked as the platform checks it on loading."""

import inspect
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import azure.functions as func

from local.host import bindings, parameters
from local.host.addresses import QueueAddress, address
from local.host.bindings import RETURN, Binding
from local.host.errors import LoadError

_NAME = re.compile(r"[a-zA-Z][a-zA-Z0-9_\-]{0,127}")
_TRIGGERS = ("httpTrigger", "queueTrigger", "timerTrigger")
_OUTPUTS = ("http", "queue")


@dataclass(frozen=True)
class Function:
    """A function whose parameters and bindings agree.

    Both mappings are by binding name. `outputs` has its queue outputs, and `types` the annotations of its values
    without `Out`.
    """

    name: str
    call: Callable[..., Any]
    is_async: bool
    wants_context: bool
    may_return: bool
    trigger: Binding
    outputs: Mapping[str, QueueAddress]
    types: Mapping[str, object]


def bind(source: func.Function, environment: Mapping[str, str]) -> Function:
    """Return the function that the library describes. Raise LoadError, which names it, if the platform refuses it."""
    name = str(source.get_function_name())
    with naming(name):
        _check_name(name)
        call = source.get_user_function()
        declared = _declared(source)
        return Function(
            name=name,
            call=call,
            is_async=inspect.iscoroutinefunction(call),
            wants_context=parameters.wants_context(call, declared),
            may_return=RETURN in declared,
            trigger=_trigger(declared),
            outputs={key: address(one, environment) for key, one in declared.items() if one.type == "queue"},
            types=parameters.types(call, declared),
        )


@contextmanager
def naming(function_name: str) -> Iterator[None]:
    """Put the function's name before every problem that is raised within."""
    try:
        yield
    except LoadError as refused:
        raise LoadError(*(f"function {function_name}: {problem}" for problem in refused.problems)) from None


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name) or name.lower() == "host":
        raise LoadError("the name is invalid: letters, digits, - and _, a letter first, and not 'host'")


def _declared(source: func.Function) -> dict[str, Binding]:
    declared: dict[str, Binding] = {}
    for binding in map(bindings.parse, source.get_raw_bindings()):
        if binding.name in declared:
            raise LoadError(f"two bindings are named {binding.name}")
        if binding.type not in (_OUTPUTS if binding.is_output else _TRIGGERS):
            raise LoadError(f"the local host has no {binding.type} binding")
        declared[binding.name] = binding
    return declared


def _trigger(declared: Mapping[str, Binding]) -> Binding:
    triggers = [binding for binding in declared.values() if binding.is_trigger]
    if len(triggers) != 1:
        raise LoadError(f"a function has one trigger, this one has {len(triggers)}")
    return triggers[0]
