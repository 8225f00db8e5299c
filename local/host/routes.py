"""HTTP routes: templates compiled to patterns, and tried in the order of function names."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from local.host import constraints
from local.host.errors import LoadError
from local.host.functions import Function

_PARAMETER = re.compile(
    r"\{(?P<stars>\*{0,2})(?P<name>\w[\w-]*)"
    r"(?::(?P<constraint>regex\((?:\{\{|\}\}|[^{}])*\)|[^{}?]+))?(?P<optional>\?)?\}"
)
_SEGMENT = re.compile(r"(?:\{(?:\{\{|\}\}|[^{}])*\}|[^/])+")  # a constraint may contain a slash


@dataclass(frozen=True)
class Route:
    """The route of a function. The value None of `methods` means all methods."""

    function: Function
    template: str
    methods: frozenset[str] | None
    pattern: re.Pattern[str]
    parameters: tuple[str, ...]
    optional: frozenset[str]
    expressions: Mapping[str, re.Pattern[str]]
    is_anonymous: bool

    def match(self, method: str, path: str) -> dict[str, str] | None:
        """Return the route's parameters, or None if the request does not match."""
        if self.methods is not None and method not in self.methods:
            return None
        found = self.pattern.fullmatch(path)
        if found is None:
            return None
        values = dict(zip(self.parameters, found.groups(), strict=True))
        parameters = {name: value for name, value in values.items() if value is not None}
        return parameters if self._is_let_through(parameters) else None

    def _is_let_through(self, parameters: Mapping[str, str]) -> bool:
        """Return whether each expression finds its value. If that is missing, it must be optional [source: ASP.NET]."""
        return all(
            expression.search(parameters[name]) if name in parameters else name in self.optional
            for name, expression in self.expressions.items()
        )


def route_of(function: Function, template: str, prefix: str) -> Route:
    """Return the route of an HTTP function. Raise LoadError for a template that cannot be served."""
    template = template.strip("/")
    if template.lower().startswith("admin"):
        raise LoadError(f"the route {template} conflicts with the built-in routes under admin")
    methods = function.trigger.fields.get("methods")
    return Route(
        function=function,
        template=template,
        methods=frozenset(str(method).upper() for method in methods) if methods else None,
        pattern=_pattern("/".join(part for part in (prefix, template) if part)),
        parameters=tuple(found["name"] for found in _PARAMETER.finditer(template)),
        optional=frozenset(found["name"] for found in _PARAMETER.finditer(template) if found["optional"]),
        expressions=_expressions(template),
        is_anonymous=function.trigger.fields.get("authLevel") == "ANONYMOUS",
    )


def in_order(routes: Iterable[Route]) -> tuple[Route, ...]:
    """Return the routes in the order in which the platform tries them."""
    return tuple(sorted(routes, key=lambda route: route.function.name.lower()))


def find(routes: Iterable[Route], method: str, path: str) -> tuple[Route, Mapping[str, str]] | None:
    """Return the first route that matches the request, with its parameters, or None."""
    for route in routes:
        parameters = route.match(method, path)
        if parameters is not None:
            return route, parameters
    return None


def conflicts(routes: Iterable[Route]) -> list[str]:
    """Return a sentence for every route that an earlier function already has for one of its methods."""
    earlier: list[Route] = []
    problems = []
    for route in in_order(routes):
        problems += [
            f"function {route.function.name}: its route conflicts with that of function {other.function.name}"
            for other in earlier
            if _overlap(route, other)
        ]
        earlier.append(route)
    return problems


def _overlap(one: Route, other: Route) -> bool:
    if one.template.lower() != other.template.lower():
        return False
    return one.methods is None or other.methods is None or not one.methods.isdisjoint(other.methods)


def _expressions(template: str) -> dict[str, re.Pattern[str]]:
    found = {one["name"]: constraints.expression(one["constraint"] or "") for one in _PARAMETER.finditer(template)}
    return {name: expression for name, expression in found.items() if expression}


def _pattern(template: str) -> re.Pattern[str]:
    segments = _SEGMENT.findall(template)
    return re.compile("".join(map(_segment, segments)) + "/?", re.IGNORECASE | re.DOTALL)


def _segment(segment: str) -> str:
    whole = _PARAMETER.fullmatch(segment)
    if whole and whole["stars"]:
        return "(?:/(.+))?"
    if whole and whole["optional"]:
        return f"(?:/({_constraint(whole)}))?"
    return "/" + _pieces(segment)


def _pieces(segment: str) -> str:
    pattern, end = "", 0
    for found in _PARAMETER.finditer(segment):
        pattern += _literal(segment[end : found.start()]) + f"({_constraint(found)})"
        end = found.end()
    return pattern + _literal(segment[end:])


def _literal(text: str) -> str:
    if "{" in text or "}" in text:
        raise LoadError(f"the route part {text} cannot be read")
    return re.escape(text)


def _constraint(found: re.Match[str]) -> str:
    return constraints.pattern(found["constraint"] or "")
