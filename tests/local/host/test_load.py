"""What the local host refuses to run: everything that the platform would refuse, with one clear line per problem."""

import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest

from local.host.addresses import address
from local.host.errors import LoadError
from local.host.functions import Function, bind
from tests.support.host_process import refusal, write_app

STORAGE = "AzureWebJobsStorage"
ENVIRONMENT = {STORAGE: "UseDevelopmentStorage=true", "QUEUE": "Some-Queue"}


def queue_app(
    function: Callable[..., Any], queue: str = "some-queue", argument: str = "msg", **out: str
) -> func.FunctionApp:
    """Return an app with one queue function that has these queue outputs, by argument name."""
    app = func.FunctionApp()
    builder = app.queue_trigger(arg_name=argument, queue_name=queue, connection=STORAGE)(function)
    for name, target in out.items():
        builder = app.queue_output(arg_name=name, queue_name=target, connection=STORAGE)(builder)
    return app


def only(app: func.FunctionApp) -> Function:
    """Return the app's only function as the host binds it."""
    (source,) = app.get_functions()
    return bind(source, ENVIRONMENT)


def test_a_function_is_bound() -> None:
    """A bound function has its trigger, its outputs and its types, and records whether it takes the context."""

    async def copy(msg: func.QueueMessage, out: func.Out[str], context: func.Context) -> None: ...

    function = only(queue_app(copy, queue="%QUEUE%", out="Out-Queue"))
    assert function.name == "copy"
    assert function.is_async
    assert function.wants_context
    assert not function.may_return
    assert function.outputs["out"].name == "out-queue"
    assert function.types == {"msg": func.QueueMessage, "out": str}


@pytest.mark.parametrize("name", ["1st", "with space", "host", "x" * 129])
def test_a_function_name_is_checked(name: str) -> None:
    """A function's name has letters, digits, - and _, starts with a letter, and is not `host`."""
    app = func.FunctionApp()

    @app.function_name(name)
    @app.queue_trigger(arg_name="msg", queue_name="some-queue", connection=STORAGE)
    def function(msg: str) -> None: ...

    with pytest.raises(LoadError, match="name is invalid"):
        only(app)


def test_a_binding_name_is_checked() -> None:
    """A binding's name has no underscore, although the library and the worker accept one."""

    def function(my_msg: str) -> None: ...

    with pytest.raises(LoadError, match="function function: the binding name 'my_msg'"):
        only(queue_app(function, argument="my_msg"))


def test_a_parameter_needs_a_binding() -> None:
    """A parameter without a binding is refused with an error that names it."""

    def function(msg: str, more: str) -> None: ...

    with pytest.raises(LoadError, match="parameters without a binding: more"):
        only(queue_app(function))


def test_a_binding_needs_a_parameter() -> None:
    """A binding without a parameter is refused with an error that names it."""

    def function(msg: str) -> None: ...

    with pytest.raises(LoadError, match="bindings without a parameter: out"):
        only(queue_app(function, out="out-queue"))


def test_an_output_is_annotated_as_out() -> None:
    """An output must be annotated as func.Out of a type that it can carry."""

    def plain(msg: str, out: str) -> None: ...

    def bare(msg: str, out: func.Out) -> None: ...  # type: ignore[type-arg]  # the mistake under test

    def foreign(msg: str, out: func.Out[int]) -> None: ...

    for function, problem in ((plain, "must be annotated"), (bare, "what it carries"), (foreign, "does not match")):
        with pytest.raises(LoadError, match=problem):
            only(queue_app(function, out="out-queue"))


def test_an_input_is_not_annotated_as_out() -> None:
    """A trigger must not be annotated as func.Out."""

    def function(msg: func.Out[str]) -> None: ...

    with pytest.raises(LoadError, match="must not be annotated"):
        only(queue_app(function))


def test_an_annotation_fits_its_binding() -> None:
    """A queue trigger accepts neither an int nor a union."""

    def number(msg: int) -> None: ...

    def union(msg: str | None) -> None: ...

    for function in (number, union):
        with pytest.raises(LoadError, match="does not match a queueTrigger"):
            only(queue_app(function))


def test_the_context_has_the_type_context() -> None:
    """The context parameter must be annotated as func.Context or not at all."""

    def function(msg: str, context: str) -> None: ...

    with pytest.raises(LoadError, match="context"):
        only(queue_app(function))


@pytest.mark.parametrize("name", ["ab", "double--dash", "under_score", "x" * 64])
def test_a_queue_name_is_checked(name: str) -> None:
    """A queue's name must follow the rules of Azure Storage."""

    def function(msg: str) -> None: ...

    function_of_queue = only(queue_app(function, queue=name))
    with pytest.raises(LoadError, match="queue name"):
        address(function_of_queue.trigger, ENVIRONMENT)


def test_a_connection_must_be_set() -> None:
    """A connection setting that is not set is refused with an error that names it."""
    app = func.FunctionApp()

    @app.queue_trigger(arg_name="msg", queue_name="some-queue", connection="Elsewhere")
    def function(msg: str) -> None: ...

    with pytest.raises(LoadError, match="Elsewhere"):
        address(only(app).trigger, ENVIRONMENT)


def test_an_unsupported_binding_is_refused() -> None:
    """A binding that this host does not support is refused, not ignored."""
    app = func.FunctionApp()

    @app.blob_trigger(arg_name="blob", path="some/path", connection=STORAGE)
    def function(blob: func.InputStream) -> None: ...

    with pytest.raises(LoadError, match="no blobTrigger binding"):
        only(app)


HTTP_APP = """
    import azure.functions as func
    app = func.FunctionApp()

    @app.route(route="{route}")
    def first(req: func.HttpRequest) -> str:
        return ""

    @app.route(route="second")
    def {second}(req: {request}) -> str:
        return ""

    @app.timer_trigger(arg_name="timer", schedule="{schedule}")
    def timed(timer: func.TimerRequest) -> None:
        pass
"""


def http_app(**changes: str) -> str:
    """Return an app that runs, apart from these changes."""
    sound = {"route": "first", "second": "second", "request": "func.HttpRequest", "schedule": "0 * * * * *"}
    return HTTP_APP.format(**{**sound, **changes})


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (http_app(route="second"), "conflicts with that of function first"),
        (http_app(second="FIRST"), "2 functions are named first"),
        (http_app(second="first"), "does not have a unique function name"),
        (http_app(schedule="never"), "function timed: the schedule 'never'"),
        (http_app(schedule="%ABSENT%"), "function timed: %ABSENT% does not resolve"),
        (http_app(request="dict"), "function second: parameter req: <class 'dict'>"),
        ("import azure.functions.azurefunctions_missing", "cannot be imported: ModuleNotFoundError"),
        ("import azure.functions as func", "must have one function app at module level, it has 0"),
        ("\n    import azure.functions as func\n    a, b = func.FunctionApp(), func.FunctionApp()", "it has 2"),
        ("\n    import azure.functions as func\n    app = func.FunctionApp()", "registers no function"),
        (http_app() + "\n    import azurefunctions.extensions.http.fastapi", "does not match a httpTrigger"),
    ],
)
def test_an_app_the_platform_refuses_does_not_start(tmp_path: Path, source: str, said: str) -> None:
    """The host prints the problem on a line that begins with `refused:`, and exits with 1."""
    lines = refusal(write_app(tmp_path, source)).splitlines()
    assert [line for line in lines if line.startswith("refused: ") and said in line], lines


def test_every_function_is_checked(tmp_path: Path) -> None:
    """Two functions with problems give two lines."""
    written = refusal(write_app(tmp_path, http_app(request="dict", schedule="never").replace("first(req", "first(r")))
    assert written.count("refused: function") == 2


@pytest.mark.parametrize(("text", "said"), [(None, "host.json is missing"), ("{", "host.json is not JSON")])
def test_host_json_must_exist_and_be_json(tmp_path: Path, text: str | None, said: str) -> None:
    """A missing or unreadable host.json is refused with an error that names it."""
    app = write_app(tmp_path, http_app())
    (app / "host.json").unlink()
    if text is not None:
        (app / "host.json").write_text(text)
    assert said in refusal(app)


def test_a_bad_connection_string_is_not_shown(tmp_path: Path) -> None:
    """A connection string that cannot be read is refused without printing it."""
    source = """
        import azure.functions as func
        app = func.FunctionApp()

        @app.queue_trigger(arg_name="msg", queue_name="some-queue", connection="AzureWebJobsStorage")
        def queued(msg: str) -> None:
            pass
    """
    written = refusal(write_app(tmp_path, source), AzureWebJobsStorage="hush-hush")
    assert "connection string for queue some-queue" in written
    assert "hush" not in written


def test_a_taken_port_is_refused(tmp_path: Path) -> None:
    """A port that another process listens on is refused with an error that names it."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"refused: port {port}" in refusal(write_app(tmp_path, http_app()), port=port)
