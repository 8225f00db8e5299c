"""The programs in examples/ do what they say. Each is run unchanged against the running service."""

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path

import httpx
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from local.azurite import Azurite
from local.stack.process import ROOT, Process, wait_for
from tests.support.connection_cutter import cutter
from tests.support.example_programs import EXAMPLES, PythonProgram, python_programs
from tests.support.service_process import Service, create, service
from tests.support.source_trees import imported
from tests.support.starting_platform import starting_platform

NODE_MODULES = ROOT / "tests" / "clients" / "node_modules"
DEADLINE_S = 60
CUTS = (0, 900, 4_000)
"""The number of bytes after which each of the first connections is cut.

The first is cut before the answer, the second within the first event, and the third within the text.
"""

POLLS = ("agent_framework_poll.py", "openai_poll.py", "node/poll.mjs")
STREAMS = ("agent_framework_stream.py", "openai_stream.py", "node/stream.mjs")
CURL = ("curl/poll.sh", "curl/stream.sh")
PATIENT = ("openai_poll.py", "node/poll.mjs", "openai_stream.py", "node/stream.mjs", "curl/poll.sh")
RECEIVERS = ("callback_receiver.py", "node/callback_receiver.mjs")
NOT_RUN = ("node/.npmrc", "node/package.json", "dotnet/Program.cs", "dotnet/BackgroundResponses.csproj")


@pytest.fixture(scope="module")
def account(azurite: Azurite) -> str:
    """Return the connection string of the service's storage account."""
    return azurite.account()


@pytest.fixture(scope="module")
def running(account: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all examples. At the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("examples"), account, REPLY_QUEUES="answers") as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a copy of the Node examples beside the openai package.

    Without the package the tests are skipped on a laptop and fail in CI.
    """
    if not (NODE_MODULES / ".package-lock.json").exists():
        reason = "the openai SDK for Node is not installed: `make test` does that, with npm"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    home = tmp_path_factory.mktemp("node")
    shutil.copytree(EXAMPLES / "node", home, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    (home / "node_modules").symlink_to(NODE_MODULES)
    return home


def command(name: str, request: pytest.FixtureRequest) -> list[str]:
    """Return the command that runs an example."""
    if name.endswith(".mjs"):
        return ["node", str(request.getfixturevalue("node") / Path(name).name)]
    return [sys.executable if name.endswith(".py") else "bash", str(EXAMPLES / name)]


def ended(command: Sequence[str], **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a program to its end and return the result."""
    given = {**os.environ, **environment}
    return subprocess.run(command, env=given, capture_output=True, text=True, timeout=DEADLINE_S, check=False)


def printed(command: Sequence[str], **environment: str) -> str:
    """Run a program to its end and return its output. It must succeed and write nothing to standard error."""
    ran = ended(command, **environment)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


def test_every_example_is_listed_here() -> None:
    """A new example must be listed with the way it is tested. The .NET examples are not compiled here."""
    found = (path for path in EXAMPLES.rglob("*") if path.is_file() and "node_modules" not in path.parts)
    names = {path.relative_to(EXAMPLES).as_posix() for path in found if path.suffix != ".pyc"}
    assert names - {"agents.py"} == {*POLLS, *STREAMS, *CURL, *RECEIVERS, "queue_request.py", *NOT_RUN}


@pytest.mark.parametrize("program", python_programs(), ids=lambda program: program.name)
def test_a_program_imports_only_what_its_own_line_installs(program: PythonProgram) -> None:
    """A user has a fresh environment. What is there beside, because of other packages, does not count.

    That holds for the programs of the README and the docs, too. `make clients` runs them all in such environments.
    """
    installed = closure(one.name for one in program.requirements())
    modules = {name.partition(".")[0] for name in imported(ast.parse(program.text))} - sys.stdlib_module_names
    providers = metadata.packages_distributions()
    for module in modules:
        assert installed & {canonicalize_name(one) for one in providers[module]}, module


def closure(names: Iterable[str]) -> set[str]:
    """Return these packages and all that they require, without extras."""
    found, waiting = set[str](), [canonicalize_name(name) for name in names]
    while waiting:
        if (name := waiting.pop()) in found:
            continue
        found.add(name)
        required = [Requirement(one) for one in metadata.requires(name) or ()]
        waiting += [
            canonicalize_name(one.name) for one in required if not one.marker or one.marker.evaluate({"extra": ""})
        ]
    return found


@pytest.mark.parametrize("name", [*POLLS, *STREAMS, *CURL])
def test_a_client_prints_the_whole_answer(running: Service, name: str, request: pytest.FixtureRequest) -> None:
    """The program polls or streams until the background work ends, and prints the text once."""
    url, key = running.hosts[0].url, running.callers["first"].api_key
    text = printed(command(name, request), BASE=f"{url}/openai/v1", KEY=key, MODEL="sim-1s")
    assert "completed" in text
    assert text.count("This answer is simulated by sim-1s") == 1
    assert "1. Why do long calls break?" in text


@pytest.mark.parametrize("name", PATIENT)
def test_a_client_outlasts_the_start_of_the_platform(
    running: Service, name: str, request: pytest.FixtureRequest
) -> None:
    """The program repeats a call that is answered by an empty 404. The work is started only once."""
    key = running.callers["first"].api_key
    with starting_platform(running.hosts[0].url, refusals=2) as (url, refused):
        ran = ended(command(name, request), BASE=f"{url}/openai/v1", KEY=key, MODEL="sim-1s")
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("This answer is simulated by sim-1s") == 1
    assert refused == ["POST"] * 2 + ([] if "stream" in name else ["GET"] * 2)
    assert running.model.stats()["started_twice"] == 0


@pytest.mark.parametrize("name", STREAMS)
def test_a_streaming_client_survives_cuts(running: Service, name: str, request: pytest.FixtureRequest) -> None:
    """The program prints the complete text once although the connection breaks. The work is started only once."""
    key = running.callers["first"].api_key
    with cutter(running.hosts[0].port, *CUTS) as (url, relay):
        text = printed(command(name, request), BASE=f"{url}/openai/v1", KEY=key, MODEL="sim-2s")
    assert relay.cuts == len(CUTS)
    assert text.startswith("completed This answer is simulated by sim-2s")
    assert text.count("This answer") == 1
    assert text.endswith("1. Why do long calls break?\n")
    assert running.model.stats()["started_twice"] == 0


def test_curl_survives_cuts(running: Service) -> None:
    """The curl example also completes although the connection breaks. It prints one curl error for each cut."""
    program, key = ["bash", str(EXAMPLES / "curl" / "stream.sh")], running.callers["first"].api_key
    with cutter(running.hosts[0].port, *CUTS) as (url, relay):
        ran = ended(program, BASE=f"{url}/openai/v1", KEY=key, MODEL="sim-2s")
    assert (ran.returncode, relay.cuts) == (0, len(CUTS))
    assert ran.stdout.count('"status":"completed"') == 2  # in the response and in its message
    assert ran.stderr.count("curl: ") == len(CUTS)


@pytest.mark.parametrize("name", [*POLLS, *STREAMS])
def test_a_client_fails_if_the_model_fails(running: Service, name: str, request: pytest.FixtureRequest) -> None:
    """If the run fails, the program exits with status 1 and prints the reason."""
    url, key = running.hosts[0].url, running.callers["first"].api_key
    ran = ended(command(name, request), BASE=f"{url}/openai/v1", KEY=key, MODEL="sim-fail-0.5s")
    assert ran.returncode == 1
    assert "Simulated failure, as the model sim-fail-0.5s promises." in ran.stderr


@contextmanager
def receiving(command: Sequence[str], secret: str, log: Path) -> Iterator[tuple[str, Process]]:
    """Run a receiver until the end of the block, and yield its URL and its process."""
    process = Process("receiver", command, env={"SECRET": secret}, log=log)
    try:
        yield process.url(DEADLINE_S), process
    finally:
        process.stop()


@pytest.mark.parametrize("name", RECEIVERS)
def test_a_receiver_verifies_callbacks(
    running: Service, name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    """The receiver accepts our callback and refuses a request without a signature."""
    secret = running.callers["first"].signing_secret
    with receiving(command(name, request), secret, tmp_path / "log") as (url, process):
        assert httpx.post(url, json={"type": "response.completed"}, trust_env=False).status_code == 400
        response = create(running.client(), "sim-0.5s", callback_url=f"{url}/callback")
        assert wait_for(lambda: f'response.completed "{response["id"]}"' in process.log(), DEADLINE_S)
        assert "refused: " in process.log()
    attempts = running.client().get(f"/responses/{response['id']}/deliveries").text
    assert '"state":"delivered"' in attempts


@pytest.mark.usefixtures("running")
def test_a_request_by_queue(account: str) -> None:
    """The program finds the answer to its request on the reply queue by its own correlation id."""
    program = [sys.executable, str(EXAMPLES / "queue_request.py")]
    text = printed(program, STORAGE=account, REPLY_TO="answers", MODEL="sim-1s")
    assert text.startswith("response.completed This answer is simulated by sim-1s")
    assert text.endswith("1. Why do long calls break?\n")
