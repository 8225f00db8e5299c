"""The programs of the README and the docs run unchanged against the service and print what they should."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from tests.support.connection_cutter import cutter
from tests.support.example_programs import python_programs
from tests.support.service_process import Service, service

PROGRAMS = {one.name: one.text for one in python_programs() if not one.name.startswith("examples/")}
PYTHONS = [sys.executable, str(Path(sys.prefix) / "openai-2" / "bin" / "python")]
DEADLINE_S = 150


@pytest.fixture(scope="module")
def storage(azurite: Azurite) -> str:
    """Return the connection string of a storage account that has the queue `replies`."""
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
    """Run a program with this interpreter and return its standard output. It must succeed and print nothing else."""
    environment = {**os.environ, "BASE": f"{base_url}/openai/v1", "KEY": key, "STORAGE": storage}
    ran = subprocess.run(
        [python, "-c", program], env=environment, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout


POLL, STREAM = PROGRAMS["README.md 1"], PROGRAMS["docs/api.md 1"]


@pytest.mark.parametrize(
    ("program", "python"),
    [(POLL, PYTHONS[0]), (POLL, PYTHONS[1]), (STREAM, PYTHONS[0])],
    ids=["poll openai-3", "poll openai-2", "stream openai-3"],
)
def test_a_client_program_prints_the_whole_answer(running: Service, program: str, python: str) -> None:
    """The polling and the streaming program print the status, then the text once, although streams end after 2 s."""
    text = printed(program, python, running.hosts[0].url, running.callers["first"].api_key)
    assert text.startswith("completed This answer is simulated by sim-5s")
    assert text.count("This answer") == 1
    assert text.endswith("1. Why do long calls break?\n")


def test_the_streaming_program_survives_cuts(running: Service) -> None:
    """The text is complete although the connection is cut before the first byte, inside the first event, and later."""
    with cutter(running.hosts[0].port, 0, 900, 4_000, 6_000) as (url, relay):
        text = printed(STREAM, PYTHONS[0], url, running.callers["first"].api_key)
    assert relay.cuts == 4
    assert text.startswith("completed This answer is simulated by sim-5s")
    assert text.count("This answer") == 1
    assert text.endswith("1. Why do long calls break?\n")


@pytest.mark.usefixtures("running")
def test_the_queue_program_gets_its_answer(storage: str) -> None:
    """The program sends a message and prints the event that arrives on its reply queue."""
    assert printed(PROGRAMS["docs/queues.md 1"], sys.executable, storage=storage) == "7 completed\n"


def test_every_program_compiles() -> None:
    """The pages have seven: poll (twice), stream, send and receive by queue, agents, ask for a callback, receive it."""
    assert len(PROGRAMS) == 7
    for name, program in PROGRAMS.items():
        compile(program, name, "exec")
