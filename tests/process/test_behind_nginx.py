"""Behind nginx: calls and streams are whole with the lines that docs/operations.md names.

nginx comes from the system (Debian's package `nginx-light`). Where there is none, the tests are
skipped on a laptop, and fail in CI.
"""

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from local.azurite import Azurite
from local.stack.ports import free_port
from local.stack.process import Process, wait_for
from tests.support.peer_processes import Json
from tests.support.service_process import Service, service

CONFIGURATION = """
daemon off; pid {folder}/pid; error_log stderr warn; worker_processes 1;
events {{}}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass http://127.0.0.1:{upstream}; {lines} }}
  }}
}}
"""
# As in docs/operations.md.
LINES = 'proxy_http_version 1.1; proxy_set_header Connection ""; proxy_buffering off; proxy_read_timeout 120s;'
DEFAULTS = ""


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """Run a service whose answers are cut after 3 s."""
    if shutil.which("nginx") is None:
        reason = "nginx is not installed: apt-get install nginx-light"
        pytest.fail(reason) if os.environ.get("CI") == "true" else pytest.skip(reason)
    directory = tmp_path_factory.mktemp("nginx")
    with service(directory, azurite.account(), FOREGROUND_HOLD_S="1", STREAM_MAX_S="3") as running:
        yield running
        assert running.unexpected() == []


@contextmanager
def behind(running: Service, folder: Path, lines: str) -> Iterator[httpx.Client]:
    """Give a client of the service that is behind nginx with these lines."""
    port, upstream = free_port(), running.hosts[0].port
    text = CONFIGURATION.format(folder=folder, port=port, upstream=upstream, lines=lines)
    (folder / "nginx.conf").write_text(text)
    process = Process("nginx", ["nginx", "-c", str(folder / "nginx.conf")], env={}, log=folder / "log")
    key = running.callers["first"].api_key
    with httpx.Client(
        base_url=f"http://127.0.0.1:{port}/v1", headers={"Authorization": f"Bearer {key}"}, timeout=30, trust_env=False
    ) as client:
        try:
            assert wait_for(lambda: _answers(client), 20), process.log()
            yield client
        finally:
            process.stop()


def _answers(client: httpx.Client) -> bool:
    try:
        return client.get("/health/live").is_success
    except httpx.TransportError:
        return False


def asks(model: str, **fields: object) -> Json:
    """Return the body of a foreground call."""
    return {"model": model, "input": "One.", **fields}


@pytest.mark.parametrize("lines", [LINES, DEFAULTS], ids=["as documented", "defaults"])
def test_a_long_call_is_whole(running: Service, tmp_path: Path, lines: str) -> None:
    """The blanks keep the connection. Over HTTP/1.0, too."""
    with behind(running, tmp_path, lines) as client:
        answer = client.post("/responses", json=asks("sim-2s"))
        assert json.loads(answer.content)["status"] == "completed"


def test_a_cut_stream_breaks_as_documented(running: Service, tmp_path: Path) -> None:
    """With `proxy_http_version 1.1`, nginx passes the break on, and events arrive one by one."""
    with behind(running, tmp_path, LINES) as client:
        events = list[str]()
        with (
            pytest.raises(httpx.RemoteProtocolError),
            client.stream("POST", "/responses", json=asks("sim-10s", stream=True)) as answer,
        ):
            events.extend(line for line in answer.iter_lines() if line.startswith("data: "))
        assert len(events) > 1


def test_a_cut_stream_is_told_by_default(running: Service, tmp_path: Path) -> None:
    """Nginx speaks HTTP/1.0 to what is behind it, where a break looks like an end. So an event says it."""
    told = list[Json]()
    with (
        behind(running, tmp_path, DEFAULTS) as client,
        suppress(httpx.RemoteProtocolError),  # some servers say it by chunks, too, in spite of the version
        client.stream("POST", "/responses", json=asks("sim-10s", stream=True)) as answer,
    ):
        told.extend(json.loads(line[6:]) for line in answer.iter_lines() if line.startswith("data: "))
    assert (told[-1]["type"], told[-1]["code"]) == ("error", "interrupted")


def test_the_lines_are_those_of_the_documentation() -> None:
    """A reader copies them from there."""
    page = Path(__file__).parents[2] / "docs" / "operations.md"
    for line in LINES.split("; "):
        assert line.removesuffix(";") in page.read_text()
