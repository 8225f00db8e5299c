"""LangChain and the OpenAI Agents SDK against the running service: neither can poll, and each gets its answer.

What a framework made of our answers is told by a program of its own in tests/clients. It runs where no proxy lets it
out, and without the telemetry that it would send.
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
from tests.support.service_process import Json, Service, service

REPORT_DEADLINE_S = 120
CONFINED = {
    "HTTP_PROXY": "http://127.0.0.1:9",
    "HTTPS_PROXY": "http://127.0.0.1:9",
    "NO_PROXY": "127.0.0.1",
    "LANGSMITH_TRACING": "false",
}


@dataclass(frozen=True)
class Framework:
    """A framework: the environment it is in, the program that reports, and how it shows work that has not ended."""

    name: str
    major: str
    unfinished: tuple[str, ...]

    @property
    def home(self) -> Path:
        """Where it is installed."""
        return ROOT / ".venv" / self.name

    def command(self, *arguments: str) -> list[str]:
        """Return how its program is run."""
        program = ROOT / "tests" / "clients" / f"{self.name.replace('-', '_')}_report.py"
        return [str(self.home / "bin" / "python"), str(program), *arguments]


LANGCHAIN = Framework("langchain", "1", ("queued", "in_progress"))
AGENTS_SDK = Framework("agents-sdk", "0", ("",))


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run one service for all frameworks; by the end it has logged nothing unexpected."""
    with service(tmp_path_factory.mktemp("frameworks"), azurite.account()) as running:
        yield running
        assert running.unexpected() == []


@pytest.fixture(scope="module", params=[LANGCHAIN, AGENTS_SDK], ids=lambda framework: framework.name)
def framework(request: pytest.FixtureRequest) -> Framework:
    """Give each framework in turn; one that is not installed is skipped on a laptop, and fails in CI."""
    framework: Framework = request.param
    need(framework.name)
    return framework


@pytest.fixture(scope="module")
def report(framework: Framework, running: Service) -> Json:
    """Run a framework's program once and give its report."""
    command = framework.command(f"{running.hosts[0].url}/openai/v1", running.callers["first"].api_key)
    ran = subprocess.run(
        command, capture_output=True, text=True, timeout=REPORT_DEADLINE_S, env={**os.environ, **CONFINED}, check=False
    )
    assert ran.returncode == 0, ran.stderr
    report: Json = json.loads(ran.stdout)
    return report


def test_the_framework_is_the_one_meant(framework: Framework, report: Json) -> None:
    """Each report comes from the major that was tried."""
    assert report["version"].partition(".")[0] == framework.major


@pytest.mark.parametrize("way", ["foreground", "streamed", "long"])
def test_an_answer_is_whole(report: Json, way: str) -> None:
    """In the foreground, streamed, and streamed where a call that waits would come back unfinished."""
    assert report[way].startswith("This answer is simulated by sim-")
    assert report[way].endswith("1. Whales sing.")
    assert report[way].count("This answer") == 1


@pytest.mark.parametrize("way", ["background", "unfinished"])
def test_what_has_not_ended_is_fetched_by_its_id(framework: Framework, report: Json, way: str) -> None:
    """The framework shows an empty answer and has no call to wait; the id that it gives is enough for the SDK below."""
    assert report[way]["first"] in framework.unfinished
    assert report[way]["text"].endswith("1. Whales sing.")


def test_a_tool_loop(report: Json) -> None:
    """The tool's output is chained to the response that asked for it."""
    assert "the output of get_weather" in report["tool"]
    assert report["tool"].endswith("1. It snows in Oslo.")


def test_structured_output(report: Json) -> None:
    """The value is parsed by the framework."""
    assert report["structured"].startswith("This answer is simulated by sim-0.5s")


@pytest.mark.parametrize("way", ["failed", "failed_stream"])
def test_a_failure_is_raised(report: Json, way: str) -> None:
    """What the upstream said is in the exception."""
    assert "Simulated failure, as the model sim-fail-0.5s promises." in report[way]
    assert not report[way].startswith("nothing")
