"""The README's programs do what it says: each is run as it stands, against the running service."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.azurite import Azurite
from tests.stacks import Service, service

README = Path(__file__).parent.parent / "README.md"
PROGRAMS: list[str] = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
DEADLINE_S = 60


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose streams end after a second, so that a client has to resume."""
    with service(tmp_path_factory.mktemp("readme"), azurite.account(), STREAM_MAX_S="1") as found:
        yield found


@pytest.mark.parametrize("program", [one for one in PROGRAMS if "client = OpenAI" in one], ids=["poll", "stream"])
def test_a_client_program_prints_the_whole_answer(running: Service, program: str) -> None:
    """Polled, and streamed over several connections: the status, then the text once."""
    address = {"BASE": f"{running.hosts[0].url}/openai/v1", "KEY": running.callers["first"].api_key}
    ran = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, **address},
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("completed This answer is simulated by sim-5s")
    assert ran.stdout.count("This answer") == 1
    assert ran.stdout.endswith("1. Why do long calls break?\n")


def test_every_program_is_one_that_python_reads() -> None:
    """Three so far: poll, stream, verify."""
    assert len(PROGRAMS) == 3
    for program in PROGRAMS:
        compile(program, "README.md", "exec")
