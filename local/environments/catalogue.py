"""Every environment of this project, by name."""

import shutil
from collections.abc import Callable
from pathlib import Path

from local.environments.environment import ROOT, Environment, SetupError
from local.environments.node_packages import NodePackages
from local.environments.python_packages import PythonPackages, newest

VENV = ROOT / ".venv"
NODE_CLIENTS = ROOT / "tests" / "clients"
NIGHTLY = ROOT / "tests" / "nightly"
BROWSER = ROOT / "tests" / "browser"
KUSTO = ROOT / "tests" / "infra" / "kusto"
BENCH_PEERS = ROOT / "local" / "bench" / "peers"
_NPMRC = ROOT / ".npmrc"


class LeftOut(SetupError):
    """This machine lacks something that the environment needs. The commands work without it.

    The text says what is missing.
    """


def app() -> Environment:
    """Return the environment of the app, the local stack and the tests."""
    return PythonPackages(VENV, ROOT / "requirements-dev.txt")


def azurite() -> Environment:
    """Return the storage emulator from npm, for machines without a Docker engine."""
    return NodePackages(ROOT, _NPMRC)


def peer(name: str) -> Callable[[], Environment]:
    """Return a factory for the environment of a program that the tests run beside the service."""
    return lambda: PythonPackages(VENV / name, NODE_CLIENTS / f"{name}.txt")


def bench_peer(name: str) -> Callable[[], Environment]:
    """Return a factory for the environment of a system that the benchmark compares with the service."""
    return lambda: PythonPackages(VENV / f"bench-{name}", BENCH_PEERS / "environments" / f"{name}.txt")


def restate_server() -> Environment:
    """Return Restate's server, which comes from npm."""
    return _node_packages(BENCH_PEERS / "restate")


def node_clients() -> Environment:
    """Return the clients for Node.js with which the tests call the service."""
    return _node_packages(NODE_CLIENTS)


def nightly_node_clients() -> Environment:
    """Return the clients for Node.js that only `make clients` runs."""
    return _node_packages(NIGHTLY)


def _node_packages(folder: Path) -> Environment:
    if shutil.which("npm") is None:
        raise LeftOut("there is no npm here")
    return NodePackages(folder, _NPMRC)


def browser() -> Environment:
    """Return what drives a browser. The browser itself comes from the system."""
    return PythonPackages(VENV / "browser", BROWSER / "requirements.txt")


def axe() -> Environment:
    """Return what checks a page for people with disabilities."""
    return _node_packages(BROWSER)


def nightly(name: str) -> Callable[[], Environment]:
    """Return a factory for the environment of a client that only `make clients` runs."""
    return lambda: PythonPackages(VENV / f"nightly-{name}", NIGHTLY / f"{name}.txt")


def codex() -> Environment:
    """Return Codex, which comes from npm with a program for this system."""
    return _node_packages(NIGHTLY / "codex")


def infra() -> Environment:
    """Return the scanner of what a deployment makes."""
    return PythonPackages(VENV / "infra", ROOT / "tests" / "infra" / "requirements.txt")


def kusto() -> Environment:
    """Return what asks the queries of alerts and of the workbook of rows."""
    return PythonPackages(VENV / "kusto", KUSTO / "requirements.txt")


def kusto_language() -> Environment:
    """Return Microsoft's language service for these queries."""
    return _node_packages(KUSTO)


def conformance() -> Environment:
    """Return Microsoft's runtime library, which needs Python 3.13."""
    python = newest("3.13")
    if python is None:
        raise LeftOut("there is no Python 3.13 here")
    requirements = ROOT / "tests" / "conformance" / "requirements.txt"
    return PythonPackages(VENV / "conformance", requirements, ROOT / "requirements.txt", python=python)


def llama_stack() -> Environment:
    """Return llama-stack's server, which needs Python 3.12 or newer."""
    python = newest("3.13") or newest("3.12")
    if python is None:
        raise LeftOut("there is no Python 3.12 or 3.13 here")
    return PythonPackages(VENV / "llama-stack", NODE_CLIENTS / "llama-stack.txt", python=python)


CLIENTS = ("openai-2", "langchain", "agents-sdk")
COMPARED = ("procrastinate", "celery", "dbos", "restate")
NIGHTLY_CLIENTS = (
    "agno",
    "crewai",
    "dspy",
    "haystack",
    "instructor",
    "litellm",
    "llama-index",
    "pydantic-ai",
    "semantic-kernel",
    "strands-agents",
)
CHECKERS = ("schemathesis",)
UPSTREAMS = ("llmock", "agentserver", "agent-framework-hosting", "litellm")
ENVIRONMENTS: dict[str, Callable[[], Environment]] = {
    "app": app,
    "azurite": azurite,
    **{name: peer(name) for name in (*CLIENTS, *CHECKERS, *UPSTREAMS)},
    **{f"bench-{name}": bench_peer(name) for name in COMPARED},
    "restate-server": restate_server,
    "llama-stack": llama_stack,
    "node-clients": node_clients,
    **{f"nightly-{name}": nightly(name) for name in NIGHTLY_CLIENTS},
    "nightly-node-clients": nightly_node_clients,
    "nightly-codex": codex,
    "infra": infra,
    "kusto": kusto,
    "kusto-language": kusto_language,
    "browser": browser,
    "axe": axe,
    "conformance": conformance,
}
