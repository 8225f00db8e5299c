"""What every test may ask for: the event loop's kind and storage."""

import os
import time
from collections.abc import AsyncIterator, Callable, Iterator

import pytest

from local.azurite import Azurite
from local.azurite import azurite as run_azurite
from local.stack.process import interrupt_on_signals
from tests.support.peer_processes import ModelPeer, model_peer
from tests.support.stage import Say, Stage


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """Run async tests on asyncio."""
    return "asyncio"


@pytest.fixture
def say(record_property: Callable[[str, object], None], request: pytest.FixtureRequest) -> Say:
    """Give a way to say something that is printed after the run, also when the test passes and wherever it ran."""
    return lambda text: record_property("said", f"{request.node.name}: {text}")


@pytest.fixture
def seed(say: Say) -> int:
    """Give the seed of this run, printed."""
    seed = int(os.environ.get("CHAOS_SEED") or time.time_ns() % 1_000_000)
    say(f"CHAOS_SEED={seed}")
    return seed


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests have said."""
    ended = [*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")]
    said = [
        text for report in ended if report.when == "call" for name, text in report.user_properties if name == "said"
    ]
    if said:
        terminalreporter.section("said")
    for text in said:
        terminalreporter.write_line(str(text))


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Run one Azurite for all tests; it is gone afterwards, even after SIGTERM."""
    interrupt_on_signals()
    with run_azurite() as storage:
        yield storage


@pytest.fixture
def connection_string(azurite: Azurite) -> str:
    """Give the test a storage account that nobody has used."""
    return azurite.account()


@pytest.fixture
async def stage(connection_string: str) -> AsyncIterator[Stage]:
    """Give the test an engine on that account, with peers and a clock of its own."""
    async with Stage(connection_string) as stage:
        yield stage


@pytest.fixture(scope="session")
def one_model(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ModelPeer]:
    """Run one simulated model for all tests that ask for no other."""
    with model_peer(tmp_path_factory.mktemp("model")) as peer:
        yield peer


@pytest.fixture
def model(one_model: ModelPeer) -> ModelPeer:
    """Give a simulated model that has forgotten everything."""
    one_model.reset()
    return one_model
