"""LangChain and the OpenAI Agents SDK get their answers from the running service, although neither can poll.

For each framework, a separate program in tests/clients reports what it makes of our answers. The program cannot reach
other hosts, because its proxy does not answer, and its telemetry is off.
"""

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from local.azurite import Azurite
from local.stack.process import ROOT
from tests.support.environments import need
from tests.support.peer_processes import Json
from tests.support.service_process import Service, service

REPORT_DEADLINE_S = 120
CONFINED = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
    "LANGSMITH_TRACING": "false",
}


@dataclass(frozen=True)
class Framework:
    """A framework: its environment's name, its major version, and what it shows for a response that has not ended."""

    name: str
    major: str
    unfinished: tuple[str, ...]

    @property
    def home(self) -> Path:
        """The directory of its environment."""
        return ROOT / ".venv" / self.name

    def command(self, *arguments: str) -> list[str]:
        """Return the command that runs its report program."""
        program = ROOT / "tests" / "clients" / f"{self.name.replace('-', '_')}_report.py"
        return [str(self.home / "bin" / "python"), str(program), *arguments]


LANGCHAIN = Framework("langchain", "1", ("queued", "in_progress"))
AGENTS_SDK = Framework("agents-sdk", "0", ("",))


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all frameworks. At the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("frameworks"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module", params=[LANGCHAIN, AGENTS_SDK], ids=lambda framework: framework.name)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Return each framework in turn. One that is not installed is skipped on a laptop and fails in CI."""
    framework: Framework = request.param
    need(framework.name)
    return framework


@pytest.fixture(scope="module")
def report(framework: Framework, running: Service) -> Json:
    """Run a framework's program once and return its report."""
    return reported(framework, running)


def reported(framework: Framework, running: Service, *more: str) -> Json:
    """Run a framework's program and return its report."""
    command = framework.command(f"{running.hosts[0].url}/openai/v1", running.callers["first"].api_key, *more)
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=REPORT_DEADLINE_S, env={**os.environ, **CONFINED}, check=False
    )
    assert ran.returncode == 0, ran.stderr
    report: Json = json.loads(ran.stdout)
    return report


def test_the_framework_has_the_expected_major_version(framework: Framework, report: Json) -> None:
    """Each report comes from the major version of the framework that we support."""
    assert report["version"].partition(".")[0] == framework.major


@pytest.mark.parametrize("way", ["foreground", "streamed", "long"])
def test_an_answer_is_complete(report: Json, way: str) -> None:
    """An answer is complete in the foreground and in a stream, also where a foreground call would return unfinished."""
    assert report[way].startswith("This answer is simulated by sim-")
    assert report[way].endswith("1. Whales sing.")
    assert report[way].count("This answer") == 1


@pytest.mark.parametrize("way", ["background", "unfinished"])
def test_an_unfinished_response_is_fetched_by_its_id(framework: Framework, report: Json, way: str) -> None:
    """The framework shows an unfinished response and cannot wait for its end. The SDK below it fetches it by id."""
    assert report[way]["first"] in framework.unfinished
    assert report[way]["text"].endswith("1. Whales sing.")


def test_a_call_that_outlasts_the_client_is_whole_and_paid_once(framework: Framework, running: Service) -> None:
    """The framework's client gives up after 2 s and repeats. Its second try joins the first, and gets blanks."""
    before = len(running.model.stats()["started"])
    text = reported(framework, running, "impatient")["impatient"]
    assert text.startswith("This answer is simulated by sim-8s")
    assert len(running.model.stats()["started"]) - before == 1


def test_a_tool_loop(report: Json) -> None:
    """The tool's output is sent in a request chained to the response that called the tool."""
    assert "the output of get_weather" in report["tool"]
    assert report["tool"].endswith("1. It snows in Oslo.")


def test_structured_output(report: Json) -> None:
    """The framework parses the value from the answer."""
    assert report["structured"].startswith("This answer is simulated by sim-0.5s")


@pytest.mark.parametrize("way", ["failed", "failed_stream"])
def test_a_failure_is_raised(report: Json, way: str) -> None:
    """The framework raises an exception that contains the upstream's error message."""
    assert "Simulated failure, as the model sim-fail-0.5s promises." in report[way]
    assert not report[way].startswith("nothing")
