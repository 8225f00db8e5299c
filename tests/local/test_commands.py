"""The commands of the local stack, each run as a process."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from local.stack.ports import free_port
from local.stack.process import ROOT, wait_for

DEADLINE_S = 120


@contextmanager
def _command(*arguments: str, **settings: str) -> Iterator[subprocess.Popen[str]]:
    """Run `python -m local ...`, and terminate it with all its parts if it still runs at the end of the block."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("UPSTREAM_")}
    with subprocess.Popen(
        [sys.executable, "-m", "local", *arguments],
        cwd=ROOT,
        env={**inherited, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def _run(*arguments: str, **settings: str) -> tuple[int, str]:
    with _command(*arguments, **settings) as process:
        output, _ = process.communicate(timeout=DEADLINE_S)
        return process.returncode, output


def _read_ready_line(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout is not None
    line = process.stdout.readline()
    match = re.fullmatch(r"ready (http://127\.0\.0\.1:\d+/openai/v1) key=(br_\S+)\n", line)
    assert match, line
    return match[1], match[2]


def _child(process: subprocess.Popen[str], module: str) -> psutil.Process | None:
    children = psutil.Process(process.pid).children()
    return next((child for child in children if module in child.cmdline()), None)


def test_the_demo_shows_one_response_from_start_to_callback(tmp_path: Path) -> None:
    """The demo submits the text, polls, and prints an answer made from it and a callback with a verified signature."""
    text = tmp_path / "letter.txt"
    text.write_text("The bridge is closed in March. The ferry runs every hour instead.")
    code, output = _run("demo", str(text), MODEL="sim-1.5s")

    assert code == 0, output
    assert "in_progress, 1." in output
    assert re.search(r"completed after \d\.\d s and \d polls with the token", output)
    assert "The ferry runs every hour" in output
    assert re.search(r"callback response\.completed, webhook-id \S+: signature verified", output)
    assert re.search(r"everything is stopped\nNext: make start, .*docs/quickstart\.md.*\n$", output)


def test_the_stream_demo_survives_cuts_and_a_killed_host() -> None:
    """After two cut connections and a killed host, the streamed text equals the stored result."""
    code, output = _run("demo", "--stream", MODEL="sim-8s")

    assert code == 0, output
    assert re.search(r"cut the connection after event (\d+)\nresuming after event \1,", output)
    assert re.search(r"cut it again after event (\d+)\nresuming after event \1,", output)
    assert re.search(r"killing the host after event (\d+)\nkilled process \d+, .*\nresuming after event \1,", output)
    assert "s, waiting for the lease of the killed host" in output
    assert re.search(r"completed: (\d+) events over 4 connections", output)
    assert re.search(r"the text streamed equals the stored result, \d{3} characters", output)
    assert re.search(r"everything is stopped\nNext: make start, .*\n$", output)


def test_the_stream_demo_fails_if_the_stream_is_too_short(tmp_path: Path) -> None:
    """An answer that ends before the host is killed is a failure, because the demo could not show everything."""
    text = tmp_path / "letter.txt"
    text.write_text("No.")
    code, output = _run("demo", "--stream", str(text), MODEL="sim-instant")
    assert code == 1
    assert "demo failed: model: the answer ended before all interruptions" in output


@pytest.mark.parametrize("options", [[], ["--stream"]])
def test_a_demo_whose_model_fails_reports_the_model(options: list[str]) -> None:
    """The exit code is 1, and the message names the part and the reason."""
    code, output = _run("demo", *options, MODEL="sim-fail-0.2s")
    assert code == 1
    assert "demo failed: model: the response is failed" in output


def test_a_demo_whose_host_is_killed_reports_the_host() -> None:
    """A part that ends during the demo is distinguished from a network failure."""
    with _command("demo", MODEL="sim-60s") as process:
        assert process.stdout is not None
        assert any("in_progress" in line for line in process.stdout)
        host = _child(process, "local.host")
        assert host is not None
        host.kill()
        output, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 1
    assert "demo failed: host: ended with exit code -9" in output


@pytest.mark.parametrize(
    ("arguments", "settings", "failure"),
    [
        (["demo", "/no/such/file"], {}, "demo failed: file: "),
        (["demo"], {"UPSTREAM_BASE_URL": "http://127.0.0.1:9/v1"}, "demo failed: settings: UPSTREAM_BASE_URL"),
        (["start"], {"PORT": "http"}, "start failed: settings: PORT"),
        (["start"], {"AZURITE": "podman"}, "start failed: azurite: AZURITE"),
    ],
)
def test_a_wrong_setting_is_named(arguments: list[str], settings: dict[str, str], failure: str) -> None:
    """A command that cannot work ends before it starts anything, with one line and no traceback."""
    code, output = _run(*arguments, **settings)
    assert code == 1
    assert output.startswith(failure)
    assert output.count("\n") == 1


def test_start_serves_on_its_port_until_ctrl_c(tmp_path: Path) -> None:
    """The ready line has all that a caller needs.

    Ctrl-C stops every part, and the directory keeps the key and the responses.
    """
    settings = {"PORT": str(free_port()), "AZURITE_DIR": str(tmp_path)}
    with _command("start", **settings) as process:
        base_url, key = _read_ready_line(process)
        headers = {"Authorization": f"Bearer {key}"}
        body = {"model": "sim-instant", "input": "One sentence.", "background": True}
        created = httpx.post(f"{base_url}/responses", json=body, headers=headers, trust_env=False).json()
        parts = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(DEADLINE_S) == 0
    assert len(parts) >= 3
    assert wait_for(lambda: not any(part.is_running() for part in parts), 10)

    with _command("start", **settings) as process:
        assert _read_ready_line(process) == (base_url, key)
        again = httpx.get(f"{base_url}/responses/{created['id']}", headers=headers, trust_env=False)
        assert again.json()["status"] == "completed"


def test_start_shows_each_callback_as_it_arrives() -> None:
    """A person sees the addresses, and a line for the callback of the response that he has started."""
    with _command("start", PORT=str(free_port())) as process:
        base_url, key = _read_ready_line(process)
        assert process.stdout is not None
        read = iter(process.stdout.readline, "")
        callback = next(line.split()[1] for line in read if line.startswith("  callbacks "))
        body = {"model": "sim-instant", "input": "One.", "background": True, "callback_url": callback}
        headers = {"Authorization": f"Bearer {key}"}
        created = httpx.post(f"{base_url}/responses", json=body, headers=headers, trust_env=False).json()
        arrived = next(line for line in read if line.startswith("<- "))
    assert arrived == f"<- response.completed {created['id']} verified 204\n"


def test_a_python_without_the_libraries_is_told_what_to_run() -> None:
    """One line says so, and no traceback. `-S` hides what is installed."""
    command = [sys.executable, "-S", "-m", "local", "new-key", "ann"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False)
    told = r"\w+ is not installed: run python3 -m local\.environments app, then \S+python -m local\n"
    assert (ended.returncode, ended.stdout) == (1, "")
    assert re.fullmatch(told, ended.stderr)
