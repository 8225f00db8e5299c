"""The shape of the code, from its syntax trees: which way imports run, and who may touch the world."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from local.stack.process import ROOT

PRODUCT = ("shared", "functions", "function_app.py")
# A package of the product imports the packages before it in this list, and never one after it.
LAYERS = [
    "core",
    "telemetry",
    "contract",
    "storage",
    "senders",
    "upstreams",
    "runtime",
    "deliveries",
    "lifecycle",
    "runs",
    "scheduler",
    "engine",
    "bootstrap",
]
RANKS = {name: rank for rank, name in enumerate(LAYERS)} | {"settings": LAYERS.index("engine")}
PURE = ("core", "contract")
# Pure rules that need a layer above the core, or that stand beside what uses them.
PURE_MODULES = {
    "shared.telemetry.exceptions",
    "shared.senders.url_policy",
    "shared.deliveries.retry_policy",
    "shared.upstreams.agents.inputs",
    "shared.upstreams.agents.output_events",
    "shared.upstreams.agents.updates",
}
# Libraries that only compute, beside orjson, and the pure module that each is for.
COMPUTING = {"shared.contract.signatures": {"cryptography"}}
MAX_FILES = 15
# Clock, dice, network, threads, environment and files: a pure rule gets such things as parameters.
WORLD = {"asyncio", "io", "logging", "os", "pathlib", "random", "socket", "ssl", "subprocess", "threading", "time"}
CLIENTS = {"AsyncClient", "DefaultAzureCredential", "QueueServiceClient", "TableClient", "Table"}
EDGES = {
    "functions/answers.py": 2,  # HTTP: nothing may leave a function, nor a stream it has begun
    "shared/bootstrap.py": 1,  # whatever OpenTelemetry says of its own settings
    "shared/scheduler/sweeps.py": 1,  # one alarm does not stop the others
    "shared/upstreams/agents/registry.py": 1,  # whatever the deployment's module raises
    "shared/upstreams/agents/run.py": 1,  # whatever a chat client says of an option it does not know
    "shared/upstreams/agents/upstream.py": 2,  # whatever an agent raises, and whatever stopping its work does
    "shared/upstreams/responses_api.py": 1,  # whatever a credential raises
}


def sources(*places: str) -> Iterator[Path]:
    """Give the source files of folders and files of the project."""
    for place in places:
        path = ROOT / place
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def name_of(path: Path) -> str:
    """Return the name by which a source file is imported."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): ast.parse(path.read_text(encoding="utf-8")) for path in sources(*PRODUCT)}

PACKAGES = {name for name in MODULES if any(other.startswith(f"{name}.") for other in MODULES)}


def imported(tree: ast.AST) -> set[str]:
    """Return the names that a module imports, `from a import b` as both `a` and `a.b`."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {node.module or ""} | {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def packages(tree: ast.AST) -> set[str]:
    """Return the first parts of the names that a module imports."""
    return {name.partition(".")[0] for name in imported(tree)}


def used(tree: ast.AST) -> set[str]:
    """Return every name and attribute that a module uses."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}


def called(tree: ast.AST) -> set[str]:
    """Return the names of what a module calls: `C()`, `m.C()` and `C.from_x()`."""
    calls = [node.func for node in ast.walk(tree) if isinstance(node, ast.Call)]
    return set().union(*(used(function) for function in calls)) if calls else set()


def at_import(tree: ast.Module) -> list[ast.stmt]:
    """Return the statements that run when a module is imported, but for those that only type checkers read."""
    return [
        node
        for node in tree.body
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
        and not (isinstance(node, ast.If) and "TYPE_CHECKING" in used(node.test))
    ]


def product(*names: str) -> dict[str, ast.Module]:
    """Return the modules of some packages of the product."""
    return {name: tree for name, tree in MODULES.items() if name.partition(".")[0] in names}


def layer(name: str) -> str:
    """Return the layer of a module of the product: its package, or itself beside the packages."""
    return name.split(".")[1]


def modules_of(package: str) -> set[str]:
    """Return the names of the modules of a package of the product, and of those in it."""
    return {name for name in MODULES if name.startswith(f"shared.{package}.")}


def test_a_layer_imports_only_layers_below_it() -> None:
    """The list above is the order, and every package of the product is in it."""
    assert {layer(name) for name in product("shared") if name != "shared"} == RANKS.keys()
    for name, tree in product("shared").items():
        upward = [one for one in ours(tree) if layer(one) != layer(name) and RANKS[layer(one)] >= RANKS[layer(name)]]
        assert not upward, name


def ours(tree: ast.AST) -> set[str]:
    """Return the modules of the product's packages that a module imports."""
    return {one for one in imported(tree) & MODULES.keys() if one.startswith("shared.")}


@pytest.mark.parametrize("name", sorted(PURE_MODULES.union(*map(modules_of, PURE))))
def test_a_pure_module_imports_only_rules(name: str) -> None:
    """The standard library but for the world, what only computes, and other pure modules."""
    tree = MODULES[name]
    assert {one for one in ours(tree) if layer(one) not in PURE} <= PURE_MODULES | {
        "shared.telemetry",
        "shared.upstreams",
    }
    assert packages(tree) - {"shared", "orjson"} - COMPUTING.get(name, set()) <= sys.stdlib_module_names - WORLD
    assert not used(tree) & {"now", "today", "utcnow", "open", "print", "environ", "getenv"}


def test_a_package_holds_no_more_than_a_reader_can_survey() -> None:
    """At most 15 modules each."""
    folders = {path.parent for path in sources("shared")}
    counts = {folder.name: len([path for path in folder.glob("*.py") if path.stem != "__init__"]) for folder in folders}
    assert {name for name, count in counts.items() if count > MAX_FILES} == set()


def test_only_the_settings_read_the_environment() -> None:
    """One module knows the names of settings."""
    readers = {name for name, tree in MODULES.items() if used(tree) & {"environ", "getenv"} or "os" in packages(tree)}
    assert readers == {"shared.settings"}


def test_clients_are_made_in_one_place() -> None:
    """Connections live as long as the process, so whoever needs one is given it."""
    makers = {name for name, tree in MODULES.items() if called(tree) & CLIENTS}
    assert makers == {"shared.bootstrap"}


def test_imports_run_one_way() -> None:
    """function_app imports functions, those import shared, and shared neither of them nor the platform."""
    assert packages(MODULES["function_app"]) == {"azure", "functions", "logging", "shared"}
    for name, tree in product("shared").items():
        assert not packages(tree) & {"functions", "function_app", "azurefunctions"}, name
        assert not {one for one in imported(tree) if one.startswith("azure.functions")}, name


def test_nothing_of_the_product_knows_its_surroundings() -> None:
    """What a laptop and the tests need stays outside; so does the SDK of clients."""
    for name, tree in MODULES.items():
        assert not packages(tree) & {"local", "tests", "pytest", "openai", "unittest"}, name


def test_agent_framework_is_imported_where_an_agent_runs() -> None:
    """By these modules, and by none of them before it runs one: until then only annotations name it."""
    using = {name for name, tree in MODULES.items() if "agent_framework" in packages(tree)}
    assert using == {f"shared.upstreams.agents.{name}" for name in ("registry", "run", "tools", "upstream")}
    for name in using:
        assert "agent_framework" not in packages(ast.Module(at_import(MODULES[name]), [])), name


def test_no_module_imports_itself_by_a_detour() -> None:
    """The graph of imports has an order; functions that import when they are called are part of it."""
    graph = {name: (imported(tree) & MODULES.keys()) - {name} - PACKAGES for name, tree in MODULES.items()}
    assert set(TopologicalSorter(graph).static_order()) >= MODULES.keys() - PACKAGES


def test_a_broad_except_stands_only_at_an_edge() -> None:
    """Elsewhere an error that nobody expected goes up, where it is counted and logged."""
    broad = re.compile(r"^\s*except(?: (?:Base)?Exception\b.*)?:", re.MULTILINE)
    texts = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in sources(*PRODUCT)}
    assert {name: len(found) for name, text in texts.items() if (found := broad.findall(text))} == EDGES


def test_no_test_replaces_code() -> None:
    """The seams are enough: no mock, and nothing of a module or an object is set from outside."""
    for path in sources("tests"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        assert not {one for one in imported(tree) if one.startswith(("unittest.mock", "mock"))}, path
        attributes = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
        assert not attributes & {"setattr", "delattr", "setitem", "delitem", "patch"}, path


def test_every_test_says_what_it_shows() -> None:
    """The docstrings of the tests, read one after the other, are the specification."""
    for path in sources("tests"):
        functions = (
            node
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name.startswith("test_")
        )
        silent = [function.name for function in functions if not ast.get_docstring(function)]
        assert not silent, path


def test_no_file_is_longer_than_a_reader_can_hold() -> None:
    """At most 300 lines, in the product and beside it."""
    long = {path.name for path in sources(*PRODUCT, "local", "tests") if path.read_text("utf-8").count("\n") > 300}
    assert not long


def test_the_core_runs_without_the_platform() -> None:
    """Every module of shared imports where the platform, local, tests and agents cannot be had; an agent is a 400."""
    names = sorted(product("shared"))
    barred = ["azure.functions", "azurefunctions", "functions", "local", "tests", "openai", "agent_framework"]
    program = f"""
import importlib, sys
sys.modules.update(dict.fromkeys({barred!r}))
for name in {names!r}:
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
