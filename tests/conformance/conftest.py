"""Fixtures: Microsoft's worker with the app, its storage, its upstream and a receiver of callbacks."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from infra.hooks.package import unpack
from local.azurite import Azurite
from local.credentials.keys import Credentials, new_credentials
from tests.conformance.hosting import Worker, client, worker
from tests.conformance.listening import Listeners, listeners
from tests.support.environments import need
from tests.support.peer_processes import peer
from tests.support.receiver_peer import ReceiverPeer, receiver_peer

REPLIES = "replies"


@dataclass(frozen=True)
class Running:
    """A running worker, with its queue listeners, callback receiver, caller and storage account."""

    worker: Worker
    queues: Listeners
    receiver: ReceiverPeer
    caller: Credentials
    account: str


def settings_of(account: str, model_url: str, caller: Credentials) -> Mapping[str, str]:
    """Return the settings of the app, by name."""
    return {
        "AzureWebJobsStorage": account,
        "CALLERS": json.dumps([caller.configuration()]),
        "CALLBACK_ALLOW_LOOPBACK": "true",
        "REPLY_QUEUES": REPLIES,
        "UPSTREAM_BASE_URL": model_url,
        "UPSTREAM_API_KEY": "simulated",
        "UPSTREAM_HONOURS_IDEMPOTENCY_KEY": "true",
        "FOREGROUND_HOLD_S": "1",
    }


@pytest.fixture(scope="package")
def app(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the directory of the app as it is deployed.

    Without an environment of Python 3.13 that can run it, skip the tests on a laptop and fail them in CI.
    """
    need("conformance")
    return unpack(tmp_path_factory.mktemp("app"))


@pytest.fixture(scope="package")
def running(app: Path, azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Run one worker for all tests.

    At the end, every queue function has succeeded and the worker has logged nothing unexpected.
    """
    directory, account = tmp_path_factory.mktemp("conformance"), azurite.account()
    caller = new_credentials("first")
    with peer(directory, "local.model") as model_url, receiver_peer(directory / "receiver", caller) as receiver:
        settings = settings_of(account, model_url, caller)
        with worker(directory, app, settings) as at_work:
            with listeners(at_work, account) as queues:
                yield Running(at_work, queues, receiver, caller, account)
            assert [one for one in queues.handled if not one[1]["succeeded"]] == []
            assert at_work.unexpected() == []


@pytest.fixture
def http(running: Running) -> Iterator[httpx.Client]:
    """Yield an HTTP client of a caller. At the end of the test, every function that it invoked has succeeded."""
    with client(running.worker, "openai/v1", running.caller.api_key) as (http, forwarding):
        yield http
        assert [one for one in forwarding.results() if not one[1]["succeeded"]] == []
