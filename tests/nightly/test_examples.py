"""Every program that users copy runs where a user runs it: in a fresh environment, made by its own install line.

The environment is a new one in a temporary folder. It is made by the command as the program states it, with the newest
versions of today. The program is a copy there, too, so nothing of this project is beside it.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.stack.process import ROOT, Process, wait_for
from tests.support.example_programs import EXAMPLES, NODE_INSTALL, PythonProgram, python_programs
from tests.support.service_process import Service, create, service

INSTALL_S = 240
RUN_S = 60
BY_QUEUE = {
    "examples/queue_request.py": "response.completed This answer is simulated by sim-2s",
    "docs/queues.md 1": "7 completed",
}
RECEIVERS = ("examples/callback_receiver.py", "docs/callbacks.md 2")
ASKS_FOR_A_CALLBACK = "docs/callbacks.md 1"
AGENTS = ("examples/agents.py", "docs/agents.md 1")
PROGRAMS = {program.name: program for program in python_programs()}
CLIENTS = sorted(PROGRAMS.keys() - {*BY_QUEUE, *RECEIVERS, *AGENTS, ASKS_FOR_A_CALLBACK})
RUNS_AGENTS = """
import asyncio, agents
for name, made in agents.AGENTS.items():
    print(name, asyncio.run(made().run("Why do long calls break?")).text)
"""

Fresh = Callable[[str], Path]


def environment(values: Mapping[str, str], python: Path | None = None) -> dict[str, str]:
    """Return the variables of a user's shell, with a Python environment activated in it, if one is given."""
    inherited = {name: text for name, text in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}" if python else os.environ["PATH"]
    return {**inherited, "PATH": path, **values}


def made(command: list[str], folder: Path, variables: Mapping[str, str]) -> None:
    """Run an installer in a folder. It must succeed."""
    ran = subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=INSTALL_S, check=False
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr


def printed(command: list[str], folder: Path, variables: Mapping[str, str]) -> str:
    """Run a program in a folder and return its output. It must succeed and write nothing to standard error."""
    ran = subprocess.run(command, cwd=folder, env=variables, capture_output=True, text=True, timeout=RUN_S, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.fixture(scope="module")
def account(azurite: Azurite) -> str:
    """Return the connection string of the service's storage account. It has a queue `replies`, as a local one has."""
    connection = azurite.account()
    with QueueClient.from_connection_string(connection, "replies") as replies:
        replies.create_queue()
    return connection


@pytest.fixture(scope="module")
def running(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all programs. At the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("service"), account, REPLY_QUEUES="answers,replies") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Fresh:
    """Return a function that makes a new environment by an install line, and returns its Python.

    Programs with the same line share the environment.
    """

    @cache
    def make(line: str) -> Path:
        folder = tmp_path_factory.mktemp("fresh")
        made([sys.executable, "-m", "venv", "environment"], folder, environment({}))
        for path in ROOT.glob("requirements*.txt"):  # some lines are for the folder of the app
            shutil.copy(path, folder)
        python = folder / "environment" / "bin" / "python"
        made(["bash", "-c", line], folder, environment({}, python))
        return python

    return make


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the Node examples, with the packages that their own line has installed."""
    home = tmp_path_factory.mktemp("node") / "examples"
    shutil.copytree(EXAMPLES / "node", home, ignore=shutil.ignore_patterns("node_modules", "package-lock.json"))
    made(["bash", "-c", NODE_INSTALL], home, environment({}))
    return home


def installed(program: PythonProgram, fresh: Fresh, folder: Path, name: str = "program.py") -> Path:
    """Put a program into a folder, and return the Python of the environment that its own line makes."""
    assert program.install_line, "the program does not say how it is installed"
    (folder / name).write_text(program.text, encoding="utf-8")
    return fresh(program.install_line)


def caller(running: Service, model: str = "sim-2s") -> dict[str, str]:
    """Return the variables that the clients read."""
    return {"BASE": f"{running.hosts[0].url}/openai/v1", "KEY": running.callers["first"].api_key, "MODEL": model}


def check_whole(text: str) -> None:
    """Assert that the output of a client has the whole answer, once."""
    assert "completed" in text
    assert text.count("This answer is simulated by sim-") == 1
    assert "1. Why do long calls break?" in text


@pytest.mark.parametrize("name", CLIENTS)
def test_a_client_in_python_prints_the_whole_answer(running: Service, fresh: Fresh, tmp_path: Path, name: str) -> None:
    """Those of the README and of the docs are run as they stand, too."""
    python = installed(PROGRAMS[name], fresh, tmp_path)
    check_whole(printed([str(python), "program.py"], tmp_path, environment(caller(running), python)))


@pytest.mark.parametrize("name", ["poll.mjs", "stream.mjs"])
def test_a_client_in_node_prints_the_whole_answer(running: Service, node: Path, name: str) -> None:
    """Its first lines state the command that installs its packages."""
    assert f"\n// {NODE_INSTALL}; " in (node / name).read_text(encoding="utf-8")
    check_whole(printed(["node", name], node, environment(caller(running))))


def test_the_node_examples_ask_for_the_version_that_their_packages_need(node: Path) -> None:
    """An older Node.js is then told so by the example's own package.json."""
    sdk, example = (orjson.loads((node / path / "package.json").read_bytes()) for path in ("node_modules/openai", "."))
    assert sdk["engines"]["node"] == example["engines"]["node"]


@pytest.mark.parametrize("name", ["poll.sh", "stream.sh"])
def test_a_client_with_curl_prints_the_whole_answer(running: Service, tmp_path: Path, name: str) -> None:
    """It needs nothing but bash and curl."""
    shutil.copy(EXAMPLES / "curl" / name, tmp_path)
    answer = printed(["bash", name], tmp_path, environment(caller(running)))
    found: dict[str, Any] = orjson.loads(answer)
    check_whole(answer)
    assert found.get("response", found)["status"] == "completed"


@pytest.mark.usefixtures("running")
@pytest.mark.parametrize("name", sorted(BY_QUEUE))
def test_a_client_by_queue_prints_the_end_of_its_request(account: str, fresh: Fresh, tmp_path: Path, name: str) -> None:
    """It reaches the service by its storage alone."""
    python = installed(PROGRAMS[name], fresh, tmp_path)
    variables = environment({"STORAGE": account, "REPLY_TO": "answers", "MODEL": "sim-2s"}, python)
    assert printed([str(python), "program.py"], tmp_path, variables).startswith(BY_QUEUE[name])


@pytest.mark.parametrize("name", AGENTS)
def test_a_module_of_agents_answers(running: Service, fresh: Fresh, tmp_path: Path, name: str) -> None:
    """Each of its agents runs to its end, with the service as its upstream."""
    python = installed(PROGRAMS[name], fresh, tmp_path, "agents.py")
    reached = caller(running)
    variables = environment({"UPSTREAM_BASE_URL": reached["BASE"], "UPSTREAM_API_KEY": reached["KEY"]}, python)
    text = printed([str(python), "-c", RUNS_AGENTS], tmp_path, variables)
    assert text.count("This answer is simulated by sim-") == PROGRAMS[name].text.count("return Agent(")


def test_a_program_asks_for_a_callback(running: Service, fresh: Fresh, tmp_path: Path) -> None:
    """The response that it prints has the delivery."""
    python = installed(PROGRAMS[ASKS_FOR_A_CALLBACK], fresh, tmp_path)
    variables = environment(caller(running) | {"CALLBACK": f"{running.receiver.url}/callback"}, python)
    made = printed([str(python), "program.py"], tmp_path, variables).strip()
    (delivery,) = running.client().get(f"/responses/{made}/deliveries").json()["data"]
    assert delivery["target"] == "callback"


@pytest.mark.parametrize("kind", [*RECEIVERS, "node"])
def test_a_receiver_verifies_a_callback(
    running: Service, kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """It prints the event that it has received, and refuses what is not signed."""
    if kind != "node":
        python = installed(PROGRAMS[kind], request.getfixturevalue("fresh"), tmp_path)
        command = [str(python), str(tmp_path / "program.py")]
    else:
        command = ["node", str(request.getfixturevalue("node") / "callback_receiver.mjs")]
    variables = {"SECRET": running.callers["first"].signing_secret}
    receiver = Process("receiver", command, env=variables, log=tmp_path / "log")
    try:
        url = receiver.url(RUN_S)
        assert httpx.post(url, json={"type": "response.completed"}, trust_env=False).status_code == 400
        response = create(running.client(), "sim-0.5s", callback_url=f"{url}/callback")
        assert wait_for(lambda: f"response.completed {response['id']}" in receiver.log().replace('"', ""), RUN_S)
    finally:
        receiver.stop()


def test_every_program_is_run_here() -> None:
    """A new one is a client, unless this file says what else it is."""
    assert PROGRAMS.keys() == {*CLIENTS, *BY_QUEUE, *RECEIVERS, *AGENTS, ASKS_FOR_A_CALLBACK}
    assert {"README.md 1", "docs/api.md 1"} < {*CLIENTS}
    assert sum(name.startswith("examples/") for name in CLIENTS) == 4
