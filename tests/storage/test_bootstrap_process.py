"""The service of a process: it is built once, a failure to build it is not final, and telemetry never stops it."""

import json
import re
import subprocess
import sys
from typing import Any
from urllib.parse import urlsplit

import pytest

from local.stack.ports import free_port
from local.stack.process import ROOT

REQUIRED = {
    "UPSTREAM_BASE_URL": "https://api.example.com/v1",
    "UPSTREAM_API_KEY": "sk-geheim",
    "CALLERS": '[{"name": "ann"}]',
}
SERVICE = """
import asyncio, json, os, sys
from shared.bootstrap import service

async def outcome():
    try:
        return (await service()).callers.first.name
    except Exception as error:
        return type(error).__name__

async def run(broken):
    working, outcomes = dict(os.environ), []
    for name, value in broken:
        os.environ[name] = value
        outcomes.append([await outcome() for _ in range(2)])
        os.environ[name] = working[name]
    impatient = asyncio.create_task(service())
    await asyncio.sleep(0)
    impatient.cancel()
    first, second = await asyncio.gather(service(), service())
    third = await service()
    await third.engine.heartbeat()
    await third.engine.check()
    await third.engine.aclose()
    return {"outcomes": outcomes, "is_one": first is second is third, "name": await outcome()}

print("outcomes", json.dumps(asyncio.run(run(json.loads(sys.argv[1])))))
"""
COLLECTED = """
import asyncio, gc
from shared.bootstrap import service

async def run():
    await (await service()).engine.aclose()
    print("collected", gc.get_freeze_count(), len(gc.get_objects()))

asyncio.run(run())
"""
TELEMETRY = """
import sys
from shared.bootstrap import start_telemetry
start_telemetry()
print("shared.telemetry.exporters" in sys.modules)
"""


def run(program: str, *arguments: str, **environment: str) -> str:
    """Run a program in a new interpreter with this environment only. Return what it prints."""
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, cwd=ROOT, env=REQUIRED | environment, check=True, capture_output=True, timeout=100)
    return done.stdout.decode()


def built(connection_string: str, *broken: tuple[str, str]) -> dict[str, Any]:
    """Let a process build its service several times, and return the outcomes.

    Each of the `broken` settings has a wrong value for two calls, one after the other.
    """
    printed = run(SERVICE, json.dumps(broken), AzureWebJobsStorage=connection_string, TELEMETRY="")
    (outcomes,) = re.findall(r"(?m)^outcomes (.*)$", printed)  # between the log lines
    found: dict[str, Any] = json.loads(outcomes)
    return found


def without(connection_string: str, service: str) -> str:
    """Return a connection string in which one service of the account does not answer."""
    parts = dict(part.partition("=")[::2] for part in connection_string.split(";"))
    return connection_string.replace(f":{urlsplit(parts[f'{service}Endpoint']).port}/", f":{free_port()}/")


def test_a_process_builds_its_service_once(connection_string: str) -> None:
    """A process builds its service at the first call, and simultaneous and later calls get the same one.

    A caller that leaves does not stop the building.
    """
    assert built(connection_string) == {"outcomes": [], "is_one": True, "name": "ann"}


def test_a_service_that_could_not_be_built_is_built_by_a_later_call(connection_string: str) -> None:
    """A wrong setting fails every call until it is corrected."""
    found = built(connection_string, ("CALLERS", "[]"), ("TELEMETRY", "nonsense"))
    assert found["outcomes"] == [["SettingsError"] * 2] * 2
    assert (found["is_one"], found["name"]) == (True, "ann")


def test_the_garbage_collector_leaves_out_what_is_loaded(connection_string: str) -> None:
    """A full collection would else hold the event loop for tens of milliseconds, again and again."""
    printed = run(COLLECTED, AzureWebJobsStorage=connection_string, TELEMETRY="")
    ((left_out, looked_at),) = re.findall(r"(?m)^collected (\d+) (\d+)$", printed)
    assert int(left_out) > 20 * int(looked_at)


@pytest.mark.parametrize(
    ("target", "exports"), [("", "False"), ("nonsense", "False"), ("azure", "False"), ("console", "True")]
)
def test_exporters_are_loaded_only_for_a_right_target(target: str, exports: str) -> None:
    """Without a target for telemetry, or with a wrong one, no exporter is loaded and nothing is raised.

    `azure` is wrong without its connection string. The requests report what is wrong.
    """
    assert run(TELEMETRY, TELEMETRY=target).splitlines()[0] == exports
