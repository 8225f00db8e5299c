"""The hook after a deployment sends one real request through the service, and says what stands in its way."""

import json
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local.azurite import Azurite
from local.stack.ports import free_port
from local.stack.process import wait_for
from tests.infra.azd_hooks import FILE, run
from tests.infra.vaults import Vault, running_vault
from tests.support.service_process import Service, service

DEPLOYMENT = "The API deployment for this resource does not exist."
FIREWALL = "Access denied due to Virtual Network/Firewall rules."
TRIED_S = 30.0


@dataclass(frozen=True)
class Deployed:
    """A running service, and the folder of the project from which azd has deployed it."""

    service: Service
    folder: Path
    vault: Vault

    def hook(self, **given: str) -> subprocess.CompletedProcess[str]:
        """Run the hook as azd does after a deployment."""
        usual = {
            "APP_URL": self.service.hosts[0].url,
            "FIRST_MODEL": "sim-instant",
            "FIRST_REQUEST_WAIT_S": "30",
            "FIRST_REQUEST_PAUSE_S": "0.2",
        }
        return run("readiness", self.folder, self.vault, **{**usual, **given})

    def responses(self) -> list[dict[str, object]]:
        """Return the responses of the first caller, the newest first."""
        found: list[dict[str, object]] = self.service.client().get("/responses").json()["data"]
        return found


@contextmanager
def deployed(folder: Path, connection: str, upstream: str | None = None) -> Iterator[Deployed]:
    """Run a service with its usual or another upstream. The file of its caller's key is where the hook looks for it."""
    settings: dict[str, Any] = {"UPSTREAM_BASE_URL": upstream} if upstream else {}
    with service(folder, connection, **settings) as running, running_vault() as vault:
        (folder / FILE).parent.mkdir(parents=True)
        (folder / FILE).write_text(json.dumps({"api_key": running.callers["first"].api_key}))
        yield Deployed(running, folder, vault)


@pytest.fixture(scope="module")
def one(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployed]:
    """Run one deployment for the tests of this module."""
    with deployed(tmp_path_factory.mktemp("first"), azurite.account()) as one:
        yield one


@pytest.fixture
def app(one: Deployed) -> Deployed:
    """Return the deployment, with an upstream that is well."""
    one.service.model.reset()
    return one


def test_a_request_goes_all_the_way(app: Deployed) -> None:
    """It is answered by the upstream. The key of the caller is not printed."""
    done = app.hook()
    assert (done.returncode, done.stderr) == (0, "")
    assert "The upstream has answered a request for 'sim-instant'." in done.stdout
    assert app.service.callers["first"].api_key not in done.stdout
    assert list(app.service.model.stats()["started"].values()) == [1]


def test_a_wrong_deployment_name_is_told(app: Deployed) -> None:
    """The upstream says that it has no such deployment. The hook fails, with the command that names another."""
    app.service.model.faults(refuse_creates={"status": 404, "message": DEPLOYMENT})
    done = app.hook(FIRST_MODEL="gpt-none")
    assert done.returncode == 1
    assert done.stderr.startswith("Wrong deployment name")
    assert "'gpt-none'" in done.stderr


def test_a_firewall_of_the_upstream_is_told(app: Deployed) -> None:
    """Azure answers 403, as for a missing role, and in other words."""
    app.service.model.faults(refuse_creates={"status": 403, "message": FIREWALL})
    done = app.hook()
    assert (done.returncode, done.stderr[:14]) == (1, "Closed network")


def test_without_a_key_or_a_name_nothing_is_sent(app: Deployed) -> None:
    """The deployment is good all the same. The hook says what is lacking, and how to send one later."""
    before = len(app.responses())
    assert "FIRST_REQUEST is false" in app.hook(FIRST_REQUEST="false").stdout
    assert "azd env set FIRST_MODEL NAME" in app.hook(FIRST_MODEL="").stdout
    unknown = app.hook(FIRST_CALLER_FILE="gone.json")
    assert (unknown.returncode, "there is no key of a caller in gone.json" in unknown.stdout) == (0, True)
    assert len(app.responses()) == before


def test_a_key_that_the_app_does_not_know_is_told(app: Deployed) -> None:
    """The vault has other callers by now, so the file is old."""
    (app.folder / "old.json").write_text('{"api_key": "br_old"}')
    done = app.hook(FIRST_CALLER_FILE="old.json")
    assert (done.returncode, "does not know the key" in done.stderr) == (1, True)


def test_a_wrong_key_is_told_at_once(app: Deployed) -> None:
    """The service itself would try until the deadline. The hook does not wait, and leaves no response behind."""
    app.service.model.faults(refuse_creates={"status": 401, "message": "Incorrect API key provided."})
    done = app.hook(UPSTREAM_API_KEY_IN_VAULT="true", FIRST_REQUEST_WAIT_S="600")
    assert (done.returncode, done.stderr[:9]) == (1, "Wrong key")
    assert app.responses()[0]["status"] == "cancelled"


def test_a_wrong_key_of_several_upstreams_is_told_at_once(app: Deployed) -> None:
    """It is not in the file of the upstreams, but in the vault's secret for them. No role is missing."""
    app.service.model.faults(refuse_creates={"status": 401, "message": "Incorrect API key provided."})
    done = app.hook(UPSTREAMS="upstreams.json", UPSTREAM_KEYS_IN_VAULT="true", FIRST_REQUEST_WAIT_S="600")
    begin = "Wrong key: the upstream of 'sim-instant' in upstreams.json refuses the vault's upstream-keys."
    assert (done.returncode, done.stderr.startswith(begin)) == (1, True)
    assert app.responses()[0]["status"] == "cancelled"


def test_a_role_that_arrives_late_is_waited_for(app: Deployed) -> None:
    """A new role takes minutes. The hook says what it waits for, and the request then goes all the way."""
    app.service.model.faults(refuse_creates={"status": 401, "message": "Principal does not have access."})
    before = len(app.responses())

    def give_the_role() -> None:
        wait_for(lambda: len(app.responses()) > before, TRIED_S)
        app.service.model.reset()

    giver = threading.Thread(target=give_the_role)
    giver.start()
    done = app.hook(FIRST_REQUEST_WAIT_S="150")  # after many refusals, the service asks once a minute
    giver.join()
    assert (done.returncode, done.stderr) == (0, "")
    assert "Missing role" in done.stdout
    assert "The upstream has answered" in done.stdout


def test_an_upstream_that_cannot_be_reached_is_told(azurite: Azurite, tmp_path: Path) -> None:
    """Nobody listens there. After three tries of the service it is no accident."""
    nowhere = f"http://127.0.0.1:{free_port()}/v1"
    with deployed(tmp_path, azurite.account(), nowhere) as app:
        done = app.hook(UPSTREAM_BASE_URL=nowhere)
    assert done.returncode == 1
    assert done.stderr.startswith(f"Closed network: {nowhere}: it cannot be reached (ConnectError)")
