"""Checks of a function's parameters against its bindings, as in the platform's worker."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any, get_args, get_origin, get_type_hints

import azure.functions as func
from azurefunctions.extensions.base import (
    HttpV2FeatureChecker,
    RequestTrackerMeta,
    ResponseTrackerMeta,
)

from local.host import bindings
from local.host.bindings import RETURN, Binding
from local.host.errors import LoadError

_CONTEXT = "context"


def is_streaming() -> bool:
    """Return whether the app imported the FastAPI extension, whose requests all HTTP functions then receive."""
    return bool(HttpV2FeatureChecker.http_v2_enabled())


def wants_context(call: Callable[..., Any], declared: Mapping[str, Binding]) -> bool:
    """Return whether the function takes the context. Raise LoadError if parameters and bindings differ."""
    parameters = set(inspect.signature(call).parameters)
    names = set(declared) - {RETURN}
    unbound = parameters - names - {_CONTEXT}
    if unbound:
        raise LoadError(f"parameters without a binding: {', '.join(sorted(unbound))}")
    if names - parameters:
        raise LoadError(f"bindings without a parameter: {', '.join(sorted(names - parameters))}")
    return _CONTEXT in parameters - names


def types(call: Callable[..., Any], declared: Mapping[str, Binding]) -> Mapping[str, object]:
    """Return the annotation of each binding's value, without `Out`, or None for a value without annotation.

    Raise LoadError for an annotation that cannot hold the binding's data.
    """
    annotations = _annotations(call)
    context = annotations.get(_CONTEXT, func.Context)
    if _CONTEXT not in declared and getattr(context, "__name__", "") != "Context":
        raise LoadError("the context parameter must be annotated as func.Context")
    return {name: _type(binding, annotations) for name, binding in declared.items()}


def _annotations(call: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(call)
    except (NameError, TypeError) as error:
        raise LoadError(f"its annotations cannot be read: {error}") from None


def _type(binding: Binding, annotations: Mapping[str, Any]) -> object:
    key = "return" if binding.name == RETURN else binding.name
    if key not in annotations:
        return None
    annotation = annotations[key]
    if binding.name == RETURN:
        return _return_type(binding, annotation)
    is_out = func.Out in (annotation, get_origin(annotation))
    if is_out != binding.is_output:
        wanted = "must be" if binding.is_output else "must not be"
        raise LoadError(f"parameter {binding.name} {wanted} annotated as func.Out: its direction says so")
    return _out_type(binding, annotation) if is_out else _in_type(binding, annotation)


def _return_type(binding: Binding, annotation: object) -> object:
    if not isinstance(annotation, type) or not _returns(binding, annotation):
        raise LoadError(f"the return annotation {annotation!r} does not match a {binding.type} output")
    return annotation


def _returns(binding: Binding, annotation: type) -> bool:
    if binding.type == "http" and is_streaming():
        return bool(ResponseTrackerMeta.check_type(annotation))
    return bindings.accepts_output(binding, annotation)


def _out_type(binding: Binding, annotation: object) -> object:
    arguments = get_args(annotation)
    if len(arguments) != 1:
        raise LoadError(f"parameter {binding.name} must say what it carries, as in func.Out[str]")
    if not bindings.accepts_output(binding, arguments[0]):
        raise LoadError(f"parameter {binding.name}: {annotation!r} does not match a {binding.type} output")
    return arguments[0]


def _in_type(binding: Binding, annotation: object) -> object:
    if not isinstance(annotation, type) or not _takes(binding, annotation):
        raise LoadError(f"parameter {binding.name}: {annotation!r} does not match a {binding.type}")
    return annotation


def _takes(binding: Binding, annotation: type) -> bool:
    if binding.type == "httpTrigger" and is_streaming():
        return bool(RequestTrackerMeta.check_type(annotation))
    return bindings.accepts_input(binding, annotation)
