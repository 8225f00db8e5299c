"""The fixtures that every test may use: the event loop's backend, storage, the stage and the simulated model."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest
from hypothesis import HealthCheck, settings

from local.azurite import Azurite
from local.azurite import azurite as run_azurite
from local.stack.ports import SHARE
from local.stack.process import interrupt_on_signals
from tests.support.log_capture import WrittenLines, recorded_lines
from tests.support.peer_processes import ModelPeer, model_peer
from tests.support.stage import Say, Stage


def pytest_configure(config: pytest.Config) -> None:
    """Give each process of the test run ports of its own. A server that is down must not lose its port to another.

    How fast examples are made and run tells of the machine, so Hypothesis does not judge that.
    """
    settings.register_profile("any machine", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("any machine")
    worker = getattr(config, "workerinput", None)  # of pytest-xdist
    if worker:
        os.environ[SHARE] = f"{worker['workerid'].removeprefix('gw')}/{worker['workercount']}"


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"


@pytest.fixture
def say(record_property: Callable[[str, object], None], request: pytest.FixtureRequest) -> Say:
    """Return a function that records a line to print after the run, also for a test that passes in another process."""
    return lambda text: record_property("note", f"{request.node.name}: {text}")


@pytest.fixture
def seed(say: Say) -> int:
    """Return the seed of this run, which `CHAOS_SEED` sets. It is printed after the run."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
    say(f"CHAOS_SEED={seed}")
    return seed


@pytest.fixture
def written() -> Iterator[WrittenLines]:
    """Return the log lines that are written during the test."""
    with recorded_lines() as written:
        yield written


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print the lines that tests recorded with `say`."""
    ended = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    said = [
        text for report in ended if report.when == "call" for name, text in report.user_properties if name == "note"
    ]
    if said:
        terminalreporter.section("notes")
    for text in said:
        terminalreporter.write_line(str(text))


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Run one Azurite for the test session. It is stopped at the end, even after SIGTERM."""
    interrupt_on_signals()
    with run_azurite() as storage:
        yield storage


@pytest.fixture
def connection_string(azurite: Azurite) -> str:
    """Return the connection string of a storage account that is new for this test."""
    return azurite.account()


@pytest.fixture
async def stage(connection_string: str) -> AsyncIterator[Stage]:
    """Return a stage on that account: an engine with its own scripted peers and its own clock."""
    async with Stage(connection_string) as stage:
        yield stage


@pytest.fixture(scope="session")
def one_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelPeer]:
    """Run the simulated model that tests share for the session."""
    with model_peer(tmp_path_factory.mktemp("model")) as peer:
        yield peer


@pytest.fixture
def model(one_model: ModelPeer) -> ModelPeer:
    """Return the shared simulated model, reset to its initial state."""
    one_model.reset()
    return one_model
