"""The app as the platform sees it: imported by a new interpreter and indexed, with names that the host accepts."""

import json
import re
import subprocess
import sys
from typing import Any

import pytest

from functions.queues import LAST_TRY
from local.stack.process import ROOT

PROGRAM = """
import json, sys
from function_app import app
found = {one.get_function_name(): one.get_raw_bindings() for one in app.get_functions()}
functions = {name: [json.loads(text) for text in bindings] for name, bindings in found.items()}
json.dump({"functions": functions, "modules": sorted(sys.modules)}, sys.stdout)
"""
BASES = {"": "openai/v1", "_v1": "v1", "_azure": "openai"}
OPERATIONS = {
    "create_response": ("POST", "responses"),
    "list_responses": ("GET", "responses"),
    "retrieve_response": ("GET", "responses/{id}"),
    "erase_responses": ("DELETE", "responses"),
    "show_erasure": ("GET", "erasures/{id}"),
    "delete_response": ("DELETE", "responses/{id}"),
    "cancel_response": ("POST", "responses/{id}/cancel"),
    "list_input_items": ("GET", "responses/{id}/input_items"),
    "list_deliveries": ("GET", "responses/{id}/deliveries"),
    "redeliver": ("POST", "responses/{id}/deliveries/redeliver"),
    "list_deliveries_in_trouble": ("GET", "deliveries"),
    "show_usage": ("GET", "usage"),
    "recover_deliveries": ("POST", "deliveries/recover"),
    "health_live": ("GET", "health/live"),
    "health_ready": ("GET", "health/ready"),
    "health_upstream": ("GET", "health/upstream"),
    "openapi": ("GET", "openapi.json"),
    "operator_status": ("GET", "operator/status"),
    "operator_responses": ("GET", "operator/responses"),
    "operator_deliveries": ("GET", "operator/deliveries"),
    "operator_usage": ("GET", "operator/usage"),
    "operator_erase": ("DELETE", "operator/responses"),
    "operator_cancel": ("POST", "operator/responses/{id}/cancel"),
    "operator_redeliver": ("POST", "operator/responses/{id}/deliveries/redeliver"),
    "list_models": ("GET", "models"),
    "retrieve_model": ("GET", "models/{id}"),
    "count_input_tokens": ("POST", "responses/input_tokens"),
    "compact": ("POST", "responses/compact"),
    "create_conversation": ("POST", "conversations"),
    "retrieve_conversation": ("GET", "conversations/{id}"),
    "modify_conversation": ("POST", "conversations/{id}"),
    "delete_conversation": ("DELETE", "conversations/{id}"),
    "create_items": ("POST", "conversations/{id}/items"),
    "list_items": ("GET", "conversations/{id}/items"),
    "retrieve_item": ("GET", "conversations/{id}/items/{item}"),
    "delete_item": ("DELETE", "conversations/{id}/items/{item}"),
}
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"]  # what the extension's web server serves
ELSEWHERE = {
    "console": ("GET", "console"),
    "console_caller": ("GET", "console/caller"),
    "console_file": ("GET", "console/files/{name}"),
    "receive_webhook": ("POST", "webhooks/upstream"),
    "unmatched": (" ".join(METHODS), "{*path}"),
}
PARAMETER = re.compile(r"\{\*?\w+(?::regex\((?P<constraint>[^{}]+)\))?\}")
# What a process needs with its first request, or later, or never. The platform limits the time of the import.
NOT_AT_IMPORT = {
    *("aiohttp", "azure.identity", "azure.monitor", "azure.storage.queue", "cryptography", "msal", "requests"),
    *("opentelemetry.exporter", "opentelemetry.sdk", "shared.openapi", "shared.telemetry.exporters", "urllib3"),
    *("agent_framework", "local", "openai", "pytest", "tests"),
}
AT_ROOT = {f"{name}_root": route for name, route in OPERATIONS.items() if name.startswith(("health", "openapi"))}


@pytest.fixture(scope="module")
def indexed() -> dict[str, Any]:
    """Import the app with warnings as errors. Return its functions with their bindings, and the imported modules."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM], cwd=ROOT, check=True, capture_output=True, timeout=120
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.fixture(scope="module")
def functions(indexed: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """Return the bindings of each function."""
    found: dict[str, list[dict[str, Any]]] = indexed["functions"]
    return found


def routes(functions: dict[str, list[dict[str, Any]]]) -> dict[str, tuple[str, str]]:
    """Return the methods of each HTTP function, and its route without constraints."""
    return {
        name: (" ".join(one.get("methods", [])), re.sub(r":regex\([^{}]+\)", "", one["route"]))
        for name, one in triggers(functions, "httpTrigger").items()
    }


def triggers(functions: dict[str, list[dict[str, Any]]], kind: str) -> dict[str, dict[str, Any]]:
    """Return the trigger of each function that has one of this kind."""
    return {name: bindings[0] for name, bindings in functions.items() if bindings[0]["type"] == kind}


def test_the_registered_functions_are_exactly_these(functions: dict[str, list[dict[str, Any]]]) -> None:
    """The app has each operation under each base path, four queues, two timers and a function for other routes."""
    expected = {
        name + suffix: (method, f"{base}/{route}")
        for suffix, base in BASES.items()
        for name, (method, route) in OPERATIONS.items()
    }
    assert routes(functions) == {**expected, **AT_ROOT, **ELSEWHERE}
    others = {"sweep", "deliver", "run", "take_request", "heartbeat", "tend_poison"}
    assert functions.keys() - routes(functions).keys() == others


def test_names_follow_the_hosts_rules(functions: dict[str, list[dict[str, Any]]]) -> None:
    """The host refuses a whole app for one invalid name. Neither the worker nor the library reports it."""
    for name, bindings in functions.items():
        assert re.fullmatch(r"(?i)(?!host$)[a-z][a-z0-9_-]{0,127}", name)
        for binding in bindings:
            assert re.fullmatch(r"[a-zA-Z][a-zA-Z0-9]{0,127}|\$return", binding["name"])


def test_the_function_for_other_routes_sorts_last(functions: dict[str, list[dict[str, Any]]]) -> None:
    """The host tries routes in the order of the functions' names, ignoring case."""
    assert max(routes(functions), key=str.lower) == "unmatched"


def test_no_two_functions_share_a_route(functions: dict[str, list[dict[str, Any]]]) -> None:
    """Each combination of method and route belongs to one function."""
    all_routes = list(routes(functions).values())
    assert len(set(all_routes)) == len(all_routes)


def test_every_route_names_methods_that_the_extension_serves(functions: dict[str, list[dict[str, Any]]]) -> None:
    """The host answers other methods itself. A request that calls no function would leave its invocation open."""
    for name, trigger in triggers(functions, "httpTrigger").items():
        assert trigger["methods"], name
        assert {*trigger["methods"]} <= {*METHODS}, name
    assert {*triggers(functions, "httpTrigger")["unmatched"]["methods"]} == {*METHODS}


@pytest.mark.parametrize("value", ["resp_1", "ct_\u00e4/..", "a%2Fb", "\0", "x" * 5_000])
@pytest.mark.parametrize("space", [" ", "\t", "\n", "\r", "\x0b", "\x0c", "\x85", "\u00a0", "\u2028", "\u3000"])
def test_every_path_parameter_is_bounded(functions: dict[str, list[dict[str, Any]]], value: str, space: str) -> None:
    """A value without white space reaches our function, which answers a wrong one. The host answers any other itself.

    The web server would answer a path with a line break without calling a function.
    """
    for name, trigger in triggers(functions, "httpTrigger").items():
        found = [*PARAMETER.finditer(trigger["route"])]
        assert trigger["route"].count("{") == len(found), name
        for parameter in found:
            constraint = re.compile(parameter["constraint"].replace(r"\z", r"\Z"))  # .NET's end of the text
            assert constraint.search(value), name
            assert not any(map(constraint.search, (space, value + space, space + value, value + space + value))), name


def test_every_queue_trigger_takes_bytes(functions: dict[str, list[dict[str, Any]]]) -> None:
    """As text, the fields of a JSON body would replace the message's own id, dequeue count and times.

    A body that is no UTF-8 would not reach the function at all.
    """
    assert {one.get("dataType") for one in triggers(functions, "queueTrigger").values()} == {"BINARY"}


def test_queues_and_storage_are_those_of_the_deployment(functions: dict[str, list[dict[str, Any]]]) -> None:
    """All queues use the app's storage connection. The heartbeat timer runs every minute and at startup."""
    queues = {"sweep": "nudges", "deliver": "deliveries", "run": "runs", "take_request": "requests"}
    assert {name: functions[name][0]["queueName"] for name in queues} == queues
    assert {functions[name][0]["connection"] for name in queues} == {"AzureWebJobsStorage"}
    timer = functions["heartbeat"][0]
    assert (timer["schedule"], timer["runOnStartup"]) == ("0 * * * * *", True)


def test_the_last_try_is_the_platforms_dequeue_limit() -> None:
    """A queued request is requeued by the app before the platform would move it to the poison queue."""
    host = json.loads((ROOT / "host.json").read_text(encoding="utf-8"))
    assert host["extensions"]["queues"]["maxDequeueCount"] == LAST_TRY


def test_the_platform_requires_no_function_keys(functions: dict[str, list[dict[str, Any]]]) -> None:
    """Callers authenticate with their own keys, also in the platform's `x-functions-key` header."""
    levels = {bindings[0]["authLevel"] for bindings in functions.values() if bindings[0]["type"] == "httpTrigger"}
    assert {str(level).lower() for level in levels} == {"anonymous"}


def test_the_app_does_not_import_what_it_does_not_need(indexed: dict[str, Any]) -> None:
    """It imports no client of storage's queues, no identity, no exporter, no SDK, and no code for local use or tests.

    The libraries of the clients are imported with the first request, the others where they are used.
    """
    imported = set(indexed["modules"])
    parents = {
        ".".join(parts[:n]) for parts in (name.split(".") for name in imported) for n in range(1, len(parts) + 1)
    }
    assert parents & NOT_AT_IMPORT == set()
