"""The local host's routes: which request reaches which function."""

import azure.functions as func
import pytest

from local.host.errors import LoadError
from local.host.functions import bind
from local.host.routes import Route, conflicts, find, in_order, route_of


def route(template: str, *methods: str, name: str = "function", prefix: str = "api") -> Route:
    """Return the route of a function that was registered with the library."""
    app = func.FunctionApp()

    @app.function_name(name)
    @app.route(route=template, methods=list(methods) or None)
    def function(req):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - suits both HTTP styles
        pass

    return route_of(bind(app.get_functions()[0], {}), template, prefix)


@pytest.mark.parametrize(
    ("template", "path", "parameters"),
    [
        ("things", "/api/THINGS", {}),
        ("things", "/api/things/", {}),
        ("things", "/things", None),
        ("things/{id}", "/api/things/a-b", {"id": "a-b"}),
        ("things/{id}", "/api/things", None),
        ("things/{id}", "/api/things/a/b", None),
        ("things/{id:int}", "/api/things/-12", {"id": "-12"}),
        ("things/{id:int}", "/api/things/x", None),
        ("things/{id:guid}", "/api/things/00000000-0000-0000-0000-00000000000A", {"id": "0" * 8}),
        ("things/{id?}", "/api/things", {}),
        ("things/{id?}", "/api/things/x", {"id": "x"}),
        ("things/{id:int?}", "/api/things/7", {"id": "7"}),
        ("{*rest}", "/api/a/b/c", {"rest": "a/b/c"}),
        ("{*rest}", "/api", {}),
        ("v{major}.{minor}/x", "/api/v1.2/x", {"major": "1", "minor": "2"}),
        ("a.b", "/api/axb", None),
        (r"x/{id:regex(^\S*\z)}", "/api/x/a-b", {"id": "a-b"}),
        (r"x/{id:regex(^\S*\z)}", "/api/x/a b", None),
        (r"x/{id:regex(^\S*\z)}", "/api/x/a\n", None),
        (r"x/{id:regex(^A.c)}/y", "/api/x/abcd/y", {"id": "abcd"}),
        (r"{*rest:regex(^\S*\z)}", "/api/a/b", {"rest": "a/b"}),
        (r"{*rest:regex(^\S*\z)}", "/api/a/b c", None),
        (r"{*rest:regex(^\S*\z)}", "/api", None),
        (r"x/{id:regex(^\d{{2}}$)}/y", "/api/x/12/y", {"id": "12"}),
        (r"x/{id:regex(^\d{{2}}$)}/y", "/api/x/123/y", None),
        (r"x/{*rest:regex(^a/b)}", "/api/x/a/b/c", {"rest": "a/b/c"}),
        (r"x/{id:regex(^a?b$)?}", "/api/x", {}),
        (r"x/{id:regex(^a?b$)?}", "/api/x/ab", {"id": "ab"}),
        (r"x/{id:regex(^a?b$)?}", "/api/x/c", None),
    ],
)
def test_a_route_matches(template: str, path: str, parameters: dict[str, str] | None) -> None:
    """A template matches whole paths, ignoring case, and returns its parameters as text."""
    found = route(template).match("GET", path)
    assert (found is None) == (parameters is None)
    assert {key: value[: len((parameters or {})[key])] for key, value in (found or {}).items()} == (parameters or {})


def test_a_route_has_its_methods() -> None:
    """A route with methods accepts only those. A route without methods accepts all."""
    assert route("x", "GET", "POST").match("POST", "/api/x") is not None
    assert route("x", "GET").match("POST", "/api/x") is None
    assert route("x").match("DELETE", "/api/x") is not None


def test_an_empty_prefix_adds_nothing_to_the_route() -> None:
    """With routePrefix "" a route starts at the root."""
    assert route("x/{id}", prefix="").match("GET", "/x/1") == {"id": "1"}


def test_the_first_function_by_name_wins() -> None:
    """Routes are tried in alphabetical order of function names."""
    routes = in_order([route("{any}", name="beta"), route("exact", name="Alpha"), route("{any}", name="gamma")])
    found = find(routes, "GET", "/api/exact")
    assert found is not None
    assert found[0].function.name == "Alpha"
    assert find(routes, "GET", "/none") is None


@pytest.mark.parametrize("template", ["{id:unknown(x)}", "{id", "admin/x", "Administration"])
def test_a_route_that_cannot_be_served_is_refused(template: str) -> None:
    """Unknown constraints, broken braces and the platform's own paths are refused."""
    with pytest.raises(LoadError):
        route(template)


def test_the_same_route_conflicts_for_the_same_methods() -> None:
    """Two functions may share a route only if their methods differ."""
    get, post, every = route("x/", "GET", name="a"), route("X", "POST", name="b"), route("x", name="c")
    assert conflicts([get, post]) == []
    assert len(conflicts([get, post, every])) == 2
