"""Azurite as the tests and the local stack use it. It works the same in a container and from npm."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from azure.core.exceptions import ServiceRequestError
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from local.azurite import Azurite, azurite
from local.azurite.choice import ACCOUNTS, IMAGE, _new_accounts, choose
from local.azurite.container import engine_trouble
from local.azurite.npm import NpmAzurite
from local.stack.process import ROOT, PartError

ROW = {"PartitionKey": "a", "RowKey": "1"}
MAX_VARIABLE_BYTES = 128 * 1024  # Linux, MAX_ARG_STRLEN


def _skip_unless_possible(kind: str) -> None:
    """Skip a kind that this machine lacks. On a laptop one of the two is enough, and CI has both."""
    if os.environ.get("CI") == "true":
        return
    if kind == "npm" and not shutil.which("npm"):
        pytest.skip("needs npm")
    if kind == "container" and (trouble := engine_trouble(IMAGE)):
        pytest.skip(trouble)


@pytest.fixture(scope="module", params=["container", "npm"])
def kind(request: pytest.FixtureRequest) -> str:
    """Return a way to run Azurite. The test runs for each way that this machine has."""
    chosen: str = request.param
    _skip_unless_possible(chosen)
    return chosen


@pytest.fixture(scope="module")
def storage(kind: str) -> Iterator[Azurite]:
    """Run an Azurite of that kind."""
    with azurite(kind=kind) as running:
        yield running


def _table(connection_string: str) -> TableClient:
    return TableClient.from_connection_string(connection_string, "responses", retry_total=0)


def test_serves_tables_and_queues_to_the_sdks(storage: Azurite) -> None:
    """A client needs only the connection string, whatever API version it uses."""
    account = storage.account()
    with _table(account) as table, QueueClient.from_connection_string(account, "nudges") as queue:
        table.create_table()
        table.create_entity(ROW)
        queue.create_queue()
        queue.send_message("a")
        received = queue.receive_message()
        assert table.get_entity("a", "1") == ROW
        assert received is not None
        assert received.content == "a"


def test_every_account_is_separate(storage: Azurite) -> None:
    """An account does not contain the data of another one, so tests cannot disturb each other."""
    with _table(storage.account()) as first, _table(storage.account()) as second:
        first.create_table()
        second.create_table()
        first.create_entity(ROW)
        assert list(second.list_entities()) == []


def test_listens_on_loopback_only(storage: Azurite) -> None:
    """Every endpoint names 127.0.0.1, and each service has its own port."""
    endpoints = [part for part in storage.account().split(";") if "Endpoint=" in part]
    assert len(endpoints) == len(set(storage.ports.values())) == 3
    assert all("=http://127.0.0.1:" in endpoint for endpoint in endpoints)


def test_an_outage_refuses_connections_and_loses_nothing(storage: Azurite) -> None:
    """Between stop and start nothing answers. Then the same ports serve the same rows and messages."""
    account = storage.account()
    with _table(account) as table, QueueClient.from_connection_string(account, "nudges") as queue:
        table.create_table()
        table.create_entity(ROW)
        queue.create_queue()
        queue.send_message("kept")
        storage.stop()
        with pytest.raises(PartError):
            storage.check()
        with pytest.raises(ServiceRequestError):
            table.get_entity("a", "1")
        storage.start()
        assert table.get_entity("a", "1") == ROW
        assert [message.content for message in queue.peek_messages()] == ["kept"]


def test_reports_the_processor_time_that_it_used(storage: Azurite) -> None:
    """The processor time increases when requests are served."""
    before_s = storage.cpu_s()
    with _table(storage.account()) as table:
        table.create_table()
        for number in range(50):
            table.create_entity({"PartitionKey": "a", "RowKey": str(number)})
    assert storage.cpu_s() > before_s > 0


def test_the_accounts_suffice_for_every_test_of_a_run() -> None:
    """There are 2,000 of them, and they fit into one environment variable. One more is an error that says so."""
    storage = NpmAzurite(json.loads(_new_accounts()), Path("unused"))
    assert len(storage.env["AZURITE_ACCOUNTS"]) < MAX_VARIABLE_BYTES
    assert len({storage.account() for _ in range(ACCOUNTS)}) == ACCOUNTS
    with pytest.raises(PartError, match="every account that it started with is in use"):
        storage.account()


def test_a_directory_keeps_accounts_and_data(kind: str, tmp_path: Path) -> None:
    """The next run hands out the same account first, with its data. Only the owner can read the file with its key."""
    with azurite(tmp_path, kind) as storage:
        account = storage.account()
        with _table(account) as table:
            table.create_table()
            table.create_entity(ROW)

    with azurite(tmp_path, kind) as storage, _table(storage.account()) as table:
        assert f"AccountName={table.account_name};" in account
        assert table.get_entity("a", "1") == ROW
    assert (tmp_path / "accounts.json").stat().st_mode & 0o077 == 0


def test_nothing_answers_after_the_block(kind: str) -> None:
    """Azurite stops at the end of the block, even if the block fails."""

    def fail() -> None:
        with azurite(kind=kind) as storage:
            ports.extend(storage.ports.values())
            raise KeyboardInterrupt

    ports: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        fail()
    for port in ports:
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_sigterm_leaves_nothing_behind(kind: str) -> None:
    """A process that receives SIGTERM stops its Azurite before it ends."""
    script = (
        "import time\n"
        "from local.azurite import azurite\n"
        "from local.stack.process import interrupt_on_signals\n"
        "interrupt_on_signals()\n"
        f"with azurite(kind={kind!r}) as storage:\n"
        "    print(storage.ports['table'], flush=True)\n"
        "    time.sleep(60)\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        assert child.stdout is not None
        port = int(child.stdout.readline())
        assert httpx.get(f"http://127.0.0.1:{port}/", trust_env=False).status_code == 400
        child.send_signal(signal.SIGTERM)
        child.communicate(timeout=30)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"http://127.0.0.1:{port}/", trust_env=False)


def test_the_image_and_the_package_are_the_same_version() -> None:
    """package.json pins the version of both. The lock file agrees with it and names no download address."""
    lock = json.loads((ROOT / "package-lock.json").read_text())
    assert IMAGE.endswith(f":{lock['packages']['node_modules/azurite']['version']}")
    assert [name for name, package in lock["packages"].items() if "resolved" in package] == []


@pytest.mark.parametrize(
    ("forced", "in_ci", "trouble", "chosen"),
    [
        (None, False, None, "container"),
        ("", False, None, "container"),
        (None, False, "no engine", "npm"),
        (None, True, None, "container"),
        ("container", False, None, "container"),
        ("npm", False, None, "npm"),
        ("npm", True, "no engine", "npm"),
    ],
)
def test_a_container_is_preferred(forced: str | None, in_ci: bool, trouble: str | None, chosen: str) -> None:
    """A machine without a Docker engine falls back to npm, and an explicit choice is respected."""
    assert choose(forced, in_ci=in_ci, engine_trouble=lambda: trouble) == chosen


@pytest.mark.parametrize(("forced", "in_ci"), [(None, True), ("container", False), ("container", True)])
def test_a_missing_engine_is_an_error_if_a_container_is_required(forced: str | None, in_ci: bool) -> None:
    """In CI, or if a container was requested, npm does not replace it, and the error gives the reason."""
    with pytest.raises(PartError, match="azurite: no container: no engine"):
        choose(forced, in_ci=in_ci, engine_trouble=lambda: "no engine")


def test_a_missing_engine_is_reported_and_leaves_no_socket_open() -> None:
    """If nothing answers at DOCKER_HOST, the reason is returned as text."""
    script = "from local.azurite.container import engine_trouble; print(engine_trouble('any'))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        check=True,
        env={**os.environ, "DOCKER_HOST": "unix:///no/engine"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "No such file" in done.stdout
    assert done.stderr == ""


def test_an_unknown_kind_is_refused() -> None:
    """A mistyped AZURITE does not select anything else."""
    with pytest.raises(PartError, match="podman"):
        choose("podman", in_ci=False, engine_trouble=lambda: None)


def test_a_port_that_is_taken_is_reported(storage: Azurite) -> None:
    """An Azurite that cannot listen reports why. The server on its port is not mistaken for it."""
    with azurite(kind=storage.kind) as other:
        other.stop()
        taken = socket.create_server(("127.0.0.1", other.ports["table"]))
        with taken, pytest.raises(PartError, match="address already in use"):
            other.start()
