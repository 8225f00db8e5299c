"""The service while its storage fails: messages that vanish, an outage, and answers that are lost after the commit."""

import random
import time
from pathlib import Path

import pytest
from anyio.from_thread import start_blocking_portal
from azure.storage.queue import QueueServiceClient

from local.azurite import Azurite
from local.azurite import azurite as run_azurite
from local.stack.process import wait_for
from tests.support.chaos_load import Load
from tests.support.peer_processes import error_of
from tests.support.proxies.fault_proxy import FaultProxy, StorageRequest
from tests.support.service_process import create, service

WRITES = 4  # the transactions of a response with a callback: accept, start, end, note


def test_messages_deleted_under_load_lose_nothing(connection_string: str, tmp_path: Path, seed: int) -> None:
    """All messages of all queues are deleted ten times under load. The heartbeat finds every alarm that is due."""
    with (
        service(tmp_path, connection_string, time_factor=1) as running,
        QueueServiceClient.from_connection_string(connection_string) as queues,
    ):
        load, rng = Load(running, seed, count=60), random.Random(seed)
        with load.sending():
            for _ in range(10):
                time.sleep(rng.uniform(0.2, 1.5))  # the moment is the test's input
                for queue in queues.list_queues():
                    with queues.get_queue_client(queue) as found:
                        found.clear_messages()
        load.settle()
        load.check()
        assert set(load.answers) == {200}


@pytest.mark.parametrize("outage_s", [20.0, 45.0])
def test_a_storage_outage_loses_nothing_that_was_accepted(tmp_path: Path, seed: int, outage_s: float) -> None:
    """Without storage, requests get a 503 in the error envelope. In the longer outage, the platform ends the host, too.

    Responses that were accepted before the outage end after it.
    """
    with run_azurite() as storage, service(tmp_path, storage.account(), time_factor=1) as running:
        load, client = Load(running, seed, count=60, pause_s=4), running.client()
        early = create(client, "sim-3s", callback_url=f"{running.receiver.url}/early")
        with load.sending():
            assert wait_for(lambda: len(load.accepted) > 10, 60)
            storage.stop()
            until = time.monotonic() + outage_s
            refused = client.get(f"/responses/{early['id']}")
            assert error_of(refused) == (503, None, "storage")
            assert refused.headers["retry-after"]
            unsaid = client.post("/responses", json={"model": "sim-1s", "input": "One.", "background": True})
            assert error_of(unsaid) == (503, None, "storage")
            assert "may have been accepted" in unsaid.text or "was not accepted" in unsaid.text
            assert "Idempotency-Key" in unsaid.text
            time.sleep(until - time.monotonic())  # the length of the outage is the test's input
            storage.start()
        load.settle()
        load.check()
        assert load.answers[503] > 0
        # The stop and the start of storage take seconds, so that the shorter outage may also last for the 24 s.
        assert outage_s == 20 or "Host is shutting down" in running.hosts[0].written()
        assert running.receiver.first(early["id"])["type"] == "response.completed"


def _is_transaction(request: StorageRequest) -> bool:
    return request.kind == "POST $batch"


def test_an_answer_lost_after_the_commit_is_recognised(
    azurite: Azurite, connection_string: str, tmp_path: Path
) -> None:
    """Whichever transaction loses its answer, the service recognises its own write and repeats nothing."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultProxy("table", azurite.ports["table"])) as proxy,
        service(tmp_path, proxy.through(connection_string), time_factor=1) as running,
    ):
        client = running.client()
        for nth in range(1, WRITES + 1):
            fault = proxy.drop_answer(_is_transaction, nth)
            answer = client.post("/responses", json=running.with_callback())
            assert answer.status_code == 200, answer.text
            response_id = answer.json()["id"]
            assert running.receiver.first(response_id, 90)["type"] == "response.completed"
            assert wait_for(fault.happened.is_set, 30), f"there is no transaction {nth}"
            proxy.heal()
            assert client.get(f"/responses/{response_id}").json()["status"] == "completed"
            assert running.model.stats()["started"][response_id] == 1
            assert len(running.receiver.of(response_id)) == 1
        assert running.unexpected() == []


def test_answers_lost_at_random_lose_nothing(
    azurite: Azurite, connection_string: str, tmp_path: Path, seed: int
) -> None:
    """Every response ends and calls back under load while one in twelve of the table's answers is lost."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(FaultProxy("table", azurite.ports["table"])) as proxy,
        service(tmp_path, proxy.through(connection_string), time_factor=1) as running,
    ):
        load, rng = Load(running, seed, count=30), random.Random(seed)
        for nth in range(1, 1200):
            if rng.random() < 1 / 12:
                proxy.drop_answer(lambda _: True, nth)
        with load.sending():
            pass
        load.settle()
        proxy.heal()
        load.check()
        assert set(load.answers) == {200}
