"""The architecture: the layers, which way imports run, what is pure, and what has only one place."""

import ast
import re
import subprocess
import sys
from collections import Counter
from graphlib import TopologicalSorter

import pytest

from local.stack.process import ROOT
from tests.support.source_trees import (
    MODULES,
    PACKAGES,
    PATHS,
    at_import,
    called,
    constructed,
    imported,
    modules_of,
    packages,
    product,
    texts,
    used,
)

# A package of the product imports only the packages before it in this list.
LAYERS = [
    "json_text",
    "core",
    "transitions",
    "off_loop",
    "silence",
    "telemetry",
    "contract",
    "storage",
    "senders",
    "upstreams",
    "gates",
    "runtime",
    "lists",
    "deliveries",
    "lifecycle",
    "starts",
    "relayed",
    "erasure",
    "runs",
    "foreground",
    "scheduler",
    "operators",
    "openapi",
    "engine",
    "bootstrap",
]
RANKS = {name: rank for rank, name in enumerate(LAYERS)} | {"settings": LAYERS.index("engine")}
PURE = ("core", "transitions", "contract")
# Pure modules of other layers. They stand beside the code that uses them.
PURE_MODULES = {
    "shared.json_text",
    "shared.telemetry.exceptions",
    "shared.telemetry.lines",
    "shared.storage.codec",
    "shared.storage.messages",
    "shared.senders.circuit_breaker",
    "shared.lifecycle.echoes",
    "shared.senders.failure_rows",
    "shared.senders.url_policy",
    "shared.deliveries.retry_policy",
    "shared.foreground.clients",
    "shared.erasure.orders",
    "shared.lists.queries",
    "shared.openapi.event_schemas",
    "shared.openapi.faults",
    "shared.openapi.operation",
    "shared.openapi.operations",
    "shared.openapi.operator_operations",
    "shared.openapi.parameters",
    "shared.openapi.response_schemas",
    "shared.openapi.schemas",
    "shared.operators.views",
    "shared.telemetry.rates",
    "shared.lists.views",
    "shared.lists.windows",
    "shared.scheduler.heartbeat_age",
    "shared.upstreams.agents.inputs",
    "shared.upstreams.agents.output_events",
    "shared.upstreams.agents.updates",
    "shared.upstreams.specs",
    "shared.upstreams.tries",
}
# Libraries that only compute, beside orjson, and the pure modules that use them.
COMPUTING = {"shared.contract.compression": {"zstandard"}, "shared.contract.signatures": {"cryptography"}}
# Clock, randomness, network, threads, environment, files. A pure module gets what it needs of these as a parameter.
IMPURE = {"asyncio", "io", "logging", "os", "pathlib", "random", "socket", "ssl", "subprocess", "threading", "time"}
MONOTONIC = {"monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns"}
CLIENTS = {"AsyncClient", "DefaultAzureCredential", "QueueServiceClient", "TableClient", "Table", "Queues"}
TRANSITIONS = {
    f"shared.transitions.{name}_transitions" for name in ("delivery", "response", "retention", "run", "upstream")
}
ROW_KEY = re.compile(r"(alarm|resp|event|attempt|failed|upstream|body|input|session|key|gate|hold|wait)\|")
# Where a broad `except` is allowed, how many of them, and what each is for.
EDGES = {
    "shared.bootstrap": 1,  # whatever OpenTelemetry raises about its own settings
    "shared.telemetry.logs": 2,  # a line that cannot be written, or a field that cannot be shown
    "shared.lifecycle.watcher": 1,  # one watch ends, and its alarm continues it
    "shared.starts.grants": 1,  # one granted response does not stop the others
    "shared.scheduler.dead_letters": 1,  # one letter does not hide those behind it
    "shared.scheduler.sweeps": 1,  # one alarm does not stop the others
    "shared.upstreams.agents.registry": 1,  # whatever the deployment's module raises
    "shared.upstreams.agents.run": 1,  # whatever a chat client raises about an option that it does not know
    "shared.upstreams.agents.upstream": 2,  # whatever an agent raises, and whatever stopping its work raises
    "shared.upstreams.endpoint": 1,  # whatever a credential raises
    "functions.answers": 2,  # HTTP: no exception may leave a function, or a stream that has begun
}


def layer(name: str) -> str:
    """Return the layer of a module of `shared`: its package, or its own name."""
    return name.split(".")[1]


def ours(tree: ast.AST) -> set[str]:
    """Return the modules of `shared` that a module imports."""
    return {one for one in imported(tree) & MODULES.keys() if one.startswith("shared.")}


def where(names: set[str]) -> set[str]:
    """Return the modules of the product that use one of these names."""
    return {name for name, tree in MODULES.items() if used(tree) & names}


# Layers and imports


def test_a_layer_imports_only_the_layers_below_it() -> None:
    """LAYERS is the order, and it names every package of `shared`."""
    assert {layer(name) for name in product("shared") if name != "shared"} == RANKS.keys()
    for name, tree in product("shared").items():
        upward = [one for one in ours(tree) if layer(one) != layer(name) and RANKS[layer(one)] >= RANKS[layer(name)]]
        assert not upward, name


def test_imports_have_no_cycle() -> None:
    """The graph of imports has an order. Imports inside functions are part of it."""
    graph = {name: (imported(tree) & MODULES.keys()) - {name} - PACKAGES for name, tree in MODULES.items()}
    assert set(TopologicalSorter(graph).static_order()) >= MODULES.keys() - PACKAGES


def test_only_the_triggers_know_the_platform() -> None:
    """`function_app` imports `functions`, which imports `shared`. `shared` imports neither, nor azure-functions."""
    assert packages(MODULES["function_app"]) == {"azure", "functions", "shared"}
    for name, tree in product("shared").items():
        assert not packages(tree) & {"functions", "function_app", "azurefunctions"}, name
        assert not {one for one in imported(tree) if one.startswith("azure.functions")}, name


def test_the_product_does_not_import_what_surrounds_it() -> None:
    """Neither what runs it on a laptop, nor its tests, nor the SDK of its clients."""
    for name, tree in MODULES.items():
        assert not packages(tree) & {"local", "tests", "pytest", "openai", "unittest"}, name


def test_agent_framework_is_imported_only_when_an_agent_runs() -> None:
    """Importing a module of the product does not import it: a deployment without agents has no cost from it."""
    using = {name for name, tree in MODULES.items() if "agent_framework" in packages(tree)}
    assert using == {f"shared.upstreams.agents.{name}" for name in ("registry", "run", "tools", "upstream")}
    for name in using:
        assert "agent_framework" not in packages(at_import(MODULES[name])), name


def test_shared_can_be_imported_without_the_platform() -> None:
    """Every module imports where azure-functions, local, tests and agents are missing. An agent is then a 400."""
    barred = ["azure.functions", "azurefunctions", "functions", "local", "tests", "openai", "agent_framework"]
    program = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({barred!r}))
for name in {sorted(product("shared"))!r}:
    importlib.import_module(name)
from shared.upstreams.agents.registry import Agents
from shared.core.errors import BadRequest
try:
    Agents("shared").check("clerk")
except BadRequest as error:
    assert (error.param, error.code) == ("model", "model_not_found")
    assert "requirements-agents.txt" in error.message
else:
    raise AssertionError("an agent without Agent Framework")
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], cwd=ROOT, check=True, timeout=60)


# Purity


@pytest.mark.parametrize("name", sorted(PURE_MODULES.union(*(modules_of(f"shared.{one}") for one in PURE))))
def test_a_pure_module_only_computes(name: str) -> None:
    """It imports the standard library without I/O and time, libraries that only compute, and pure modules."""
    tree = MODULES[name]
    above = {one for one in ours(tree) if layer(one) not in PURE} - PACKAGES
    assert above <= PURE_MODULES
    assert packages(tree) - {"shared", "orjson"} - COMPUTING.get(name, set()) <= sys.stdlib_module_names - IMPURE
    assert not used(tree) & {"now", "today", "utcnow", "open", "print", "environ", "getenv"}


def test_only_some_layers_measure_durations() -> None:
    """Everything above gets the time from a clock that a test can set."""
    allowed = {"runtime", "senders", "telemetry"}
    measuring = where(MONOTONIC) | {
        name for name, tree in MODULES.items() if "get_running_loop().time" in ast.unparse(tree)
    }
    assert {layer(name) for name in measuring} <= allowed


# One place


def test_only_transitions_build_change_sets() -> None:
    """What a step writes is decided by a pure function, which a test can ask."""
    assert {name for name, tree in MODULES.items() if "ChangeSet" in constructed(tree)} == TRANSITIONS


def test_only_keys_knows_the_layout_of_the_table() -> None:
    """Every row key is written and parsed in `core/keys`, and those of gates in `core/gates/gate_keys`."""
    places = {"shared.core.keys", "shared.core.gates.gate_keys"}
    assert {name for name, tree in MODULES.items() if any(map(ROW_KEY.match, texts(tree)))} == places


def test_only_messages_knows_the_queues() -> None:
    """The names of our queues and the formats of their messages are in `storage/messages`."""
    names = {"nudges", "deliveries", "runs", "requests", "-poison"}
    assert {name for name, tree in MODULES.items() if texts(tree) & names} == {"shared.storage.messages"}
    for name, tree in product("functions").items():
        assert not (name == "functions.queues" and packages(tree) & {"orjson", "json"})


def test_only_the_settings_read_the_environment() -> None:
    """One module knows the names of the settings."""
    readers = where({"environ", "getenv"}) | {name for name, tree in MODULES.items() if "os" in packages(tree)}
    assert readers == {"shared.settings"}


def test_a_line_of_ours_does_not_go_through_logging() -> None:
    """The platform drops a record of `logging` whose function has returned. Only what hears libraries imports it."""
    users = {name for name, tree in MODULES.items() if "logging" in packages(tree)}
    assert users == {"shared.telemetry.library_logs", "shared.telemetry.exporters"}
    assert {name for name, tree in MODULES.items() if "print" in called(tree)} == set()
    assert where({"stdout", "stderr"}) == {"shared.telemetry.logs"}


def test_only_the_composition_root_makes_clients() -> None:
    """Connections live as long as the process, so each is made once and passed to its users."""
    assert {name for name, tree in MODULES.items() if called(tree) & CLIENTS} == {"shared.bootstrap"}


def test_a_broad_except_stands_only_at_an_edge() -> None:
    """Elsewhere an unexpected error reaches the caller, where it is counted and logged."""
    broad = re.compile(r"^\s*except(?: (?:Base)?Exception\b.*)?:", re.MULTILINE)
    counts = Counter({name: len(broad.findall(path.read_text(encoding="utf-8"))) for name, path in PATHS.items()})
    assert +counts == EDGES
