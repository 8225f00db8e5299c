"""Whichever function a new process is called for, a heartbeat runs beside it, and no invocation fails because of it."""

import json
import re
import socket
import subprocess
import sys
from typing import Any

import pytest
from azure.storage.queue import QueueServiceClient

from local.stack.ports import free_port
from local.stack.process import ROOT
from shared.storage.messages import DELIVERIES, POISON, REQUESTS, RUNS, WAKEUPS

OURS = [DELIVERIES, WAKEUPS, REQUESTS, REQUESTS + POISON, RUNS]
SETTINGS = {
    "UPSTREAM_BASE_URL": "https://api.example.com/v1",
    "UPSTREAM_API_KEY": "sk-geheim",
    "CALLERS": '[{"name": "ann"}]',
}
PROGRAM = """
import asyncio, json, sys
import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request
from function_app import app

functions = {one.get_function_name(): one for one in app.get_functions()}
called = functions[sys.argv[1]]

def argument():
    if called.get_trigger().type == "queueTrigger":
        return func.QueueMessage(body=b"no JSON")
    if called.get_trigger().type == "timerTrigger":
        return None
    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": [], "server": ("x", 80)}
    return Request({**scope, "scheme": "http", "path_params": {"id": "resp_1"}})

async def run():
    try:
        answer = await called.get_user_function()(argument())
        said = getattr(answer, "status_code", None)
    except Exception as error:
        said = type(error).__name__
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)
    return said

print("answer", json.dumps(asyncio.run(run())))
"""


BEGIN = """
import asyncio, sys, time
from functions import invocations

async def run():
    began_s = time.monotonic()
    await invocations.begin(works_between=sys.argv[1] == "on")
    return time.monotonic() - began_s

print("answer", asyncio.run(run()))
"""


def nowhere(port: int = 0) -> str:
    """Return the connection string of a storage account on a port, or on ports where nobody listens."""
    return "DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==" + "".join(
        f";{service}Endpoint=http://127.0.0.1:{port or free_port()}/a" for service in ("Blob", "Queue", "Table")
    )


def begun(setting: str, connection: str) -> float:
    """Begin an invocation in a new process, which ends with it. Return how many seconds it waited."""
    environment = {"AzureWebJobsStorage": connection, **SETTINGS}
    done = subprocess.run(
        [sys.executable, "-c", BEGIN, setting], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=100
    )
    (said,) = re.findall(r"(?m)^answer (.*)$", done.stdout.decode())
    return float(said)


def called(name: str, **environment: str) -> Any:
    """Call a function once in a new process. Return its status or the name of its exception after all tasks ended."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, name], cwd=ROOT, env=environment, check=True, capture_output=True, timeout=100
    )
    (said,) = re.findall(r"(?m)^answer (.*)$", done.stdout.decode())  # between the log lines
    return json.loads(said)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("health_live_root", 200),
        ("unmatched", 404),
        ("retrieve_response", 401),
        ("sweep", None),
        ("deliver", None),
        ("run", None),
        ("take_request", None),
        ("tend_poison", None),
        ("heartbeat", None),
    ],
)
def test_any_first_invocation_starts_a_heartbeat(connection_string: str, name: str, answer: object) -> None:
    """The first heartbeat of a process creates our queues, so it has run if they are there."""
    assert called(name, AzureWebJobsStorage=connection_string, **SETTINGS) == answer
    with QueueServiceClient.from_connection_string(connection_string) as queues:
        assert sorted(str(queue.name) for queue in queues.list_queues()) == sorted(OURS)


@pytest.mark.parametrize(("name", "answer"), [("health_live_root", 200), ("unmatched", 404), ("sweep", None)])
@pytest.mark.parametrize("callers", ["[]", SETTINGS["CALLERS"]], ids=["setting", "storage"])
def test_a_heartbeat_that_is_not_possible_fails_no_invocation(name: str, answer: object, callers: str) -> None:
    """Where a setting is wrong or storage is away, a function that needs neither answers as usual."""
    assert called(name, AzureWebJobsStorage=nowhere(), **{**SETTINGS, "CALLERS": callers}) == answer


def test_an_invocation_waits_for_its_heartbeat_where_nothing_may_go_on_after_it(connection_string: str) -> None:
    """The queues are there, although the process ended with its invocation. The first heartbeat has created them."""
    begun("off", connection_string)
    with QueueServiceClient.from_connection_string(connection_string) as queues:
        assert sorted(str(queue.name) for queue in queues.list_queues()) == sorted(OURS)


def test_an_invocation_waits_two_seconds_at_most() -> None:
    """If storage does not answer, the invocation goes on without its heartbeat.

    Where a process may work between invocations, it does not wait at all.
    """
    with socket.create_server(("127.0.0.1", 0)) as silent:
        storage = nowhere(silent.getsockname()[1])
        assert 1.9 < begun("off", storage) < 9
        assert begun("on", storage) < 1.9
