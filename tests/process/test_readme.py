"""The README's programs do what it says: each is run as it stands, against the running service."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.stack.process import ROOT
from tests.support.connection_cutter import cutter
from tests.support.service_process import Service, service

README = ROOT / "README.md"
PROGRAMS: list[str] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
PYTHONS = [sys.executable, str(Path(sys.prefix) / "openai-2" / "bin" / "python")]
DEADLINE_S = 150


@pytest.fixture(scope="module")
def storage(azurite: Azurite) -> str:
    """Give a storage account with a queue for replies."""
    connection = azurite.account()
    with QueueClient.from_connection_string(connection, "replies") as replies:
        replies.create_queue()
    return connection


@pytest.fixture(scope="module")
def running(storage: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose streams end after two seconds, so that a client has to resume."""
    with service(tmp_path_factory.mktemp("readme"), storage, STREAM_MAX_S="2", REPLY_QUEUES="replies") as found:
        yield found


def printed(program: str, python: str, base_url: str = "", key: str = "", storage: str = "") -> str:
    """Run a program with an interpreter and return what it prints, which is all it says."""
    environment = {**os.environ, "BASE": f"{base_url}/openai/v1", "KEY": key, "STORAGE": storage}
    ran = subprocess.run(
        [python, "-c", program], env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


@pytest.mark.parametrize("python", PYTHONS, ids=["openai-3", "openai-2"])
@pytest.mark.parametrize("program", [one for one in PROGRAMS if "client = OpenAI" in one], ids=["poll", "stream"])
def test_a_client_program_prints_the_whole_answer(running: Service, program: str, python: str) -> None:
    """Polled, and streamed over connections that end by themselves: the status, then the text once."""
    text = printed(program, python, running.hosts[0].url, running.callers["first"].api_key)
    assert text.startswith("completed This answer is simulated by sim-5s")
    assert text.count("This answer") == 1
    assert text.endswith("1. Why do long calls break?\n")


@pytest.mark.parametrize("python", PYTHONS, ids=["openai-3", "openai-2"])
def test_the_streaming_program_survives_cuts(running: Service, python: str) -> None:
    """Cut before the first byte of an answer, within its first event, and later: the text is whole."""
    with cutter(running.hosts[0].port, 0, 900, 4_000, 6_000) as (url, relay):
        text = printed(PROGRAMS[1], python, url, running.callers["first"].api_key)
    assert relay.cuts == 4
    assert text.startswith("completed This answer is simulated by sim-5s")
    assert text.count("This answer") == 1
    assert text.endswith("1. Why do long calls break?\n")


@pytest.mark.usefixtures("running")
def test_the_queue_program_gets_its_answer(storage: str) -> None:
    """A message goes in, its event comes out."""
    (program,) = [one for one in PROGRAMS if "QueueClient" in one]
    assert printed(program, sys.executable, storage=storage) == "7 completed\n"


def test_every_program_is_one_that_python_reads() -> None:
    """Five so far: poll, stream, agents, verify, send and receive."""
    assert len(PROGRAMS) == 5
    for program in PROGRAMS:
        compile(program, "README.md", "exec")
