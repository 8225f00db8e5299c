"""Runs the program in `dotnet/`, which uses Agent Framework and OpenAI's SDK for .NET as its users do."""

import os
import subprocess
from pathlib import Path

import pytest

from tests.support.service_process import Service

SETTING = "DOTNET_FLOWS"


def flows_of() -> Path:
    """Return the path of the program. Skip the test where no setting names one."""
    if not (named := os.environ.get(SETTING)):
        pytest.skip(f"{SETTING} names no program: `dotnet publish tests/clients/dotnet` makes one")
    program = Path(named).resolve()
    assert program.exists(), f"{SETTING} names a program that does not exist"
    return program


def run_flows(running: Service, names: tuple[str, ...], deadline_s: float) -> list[str]:
    """Run flows, or the usual ones, against a service. Return what the program has told, a line for each flow."""
    url = str(running.client().base_url)
    command = [str(flows_of()), url, running.callers["first"].api_key, *names]
    done = subprocess.run(command, capture_output=True, timeout=deadline_s, check=False, text=True)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()
