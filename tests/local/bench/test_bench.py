"""The benchmark's own rules: what it counts, what it computes, and how it applies its loads."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace

import pytest
from anyio.from_thread import start_blocking_portal
from azure.data.tables import TableClient
from azure.storage.queue import QueueClient

from local.azurite import Azurite
from local.bench.loads.load import burst, paced
from local.bench.meters.figures import Callback, Figures, Observed, Submission, Usage, figures, percentile
from local.bench.meters.storage_requests import NAMES, Count, Kind, StorageRequest, counts, kind_of
from local.bench.meters.tap import Tap, tap
from local.model.simulation import Simulation

OBSERVED = Observed(
    submissions=[
        Submission(10.0, 10.010, "resp_a"),
        Submission(10.5, 10.530, "resp_b"),
        Submission(11.0, 12.000, "resp_c"),
        Submission(11.0, 19.000, None),
    ],
    completions={"resp_a": 1000.0, "resp_b": 1000.5, "resp_c": 1003.0},
    callbacks=[Callback("resp_a", 1001.25), Callback("resp_b", 1001.0), Callback("resp_a", 1009.0)],
    upstream_calls=9,
    started_twice=1,
    usage=Usage(host_cpu_s=0.06, azurite_cpu_s=0.03, host_peak_bytes=64 * 2**20),
    load_average=0.5,
)


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([7], 50, 7),
        ([7], 99, 7),
        ([4, 1, 3, 2], 50, 2),
        ([4, 1, 3, 2], 99, 4),
        (range(1, 101), 99, 99),
        (range(1, 501), 99, 495),
    ],
)
def test_a_percentile_is_one_of_the_values(values: Sequence[float], percent: float, expected: float | None) -> None:
    """A percentile is the smallest value that is at or above that percentage of all values, or None without values."""
    assert percentile(values, percent) == expected


def test_figures_are_computed_from_what_was_observed() -> None:
    """Rates and CPU time are per accepted response. Callback times run from completion to the first callback."""
    expected = Figures(
        submitted=4,
        accepted=3,
        accepted_per_s=1.5,
        accept_p50_ms=30,
        accept_p99_ms=1000,
        callback_p50_ms=500,
        callback_p99_ms=1250,
        host_cpu_ms=20,
        azurite_cpu_ms=10,
        host_peak_mib=64,
        upstream_calls=3,
        started_twice=1,
        called_back_twice=1,
        lost=1,
        load_average=0.5,
    )
    assert asdict(figures(OBSERVED)) == pytest.approx(asdict(expected))


def test_a_run_that_accepted_nothing_has_figures_too() -> None:
    """Figures with nothing to measure are None."""
    found = figures(replace(OBSERVED, submissions=OBSERVED.submissions[3:], completions={}, callbacks=[]))
    assert (found.submitted, found.accepted, found.lost) == (1, 0, 0)
    assert found.accept_p50_ms is found.accepted_per_s is found.callback_p99_ms is found.host_cpu_ms is None


def test_twice_asked_messages_and_invocations_are_figures() -> None:
    """Invocations by HTTP and by messages are per accepted response. No response causes those of timers."""
    invocations = {"httpTrigger": 3, "queueTrigger": 6, "timerTrigger": 100}
    found = figures(replace(OBSERVED, invocations=invocations, asked_twice=2))
    assert (found.invocations, found.messages, found.asked_twice) == (3, 2, 2)


def test_a_burst_runs_one_call_per_client() -> None:
    """Each client waits for its answer, so there are as many concurrent calls as clients."""
    under_way, seen = 0, list[int]()

    async def submit() -> None:
        nonlocal under_way
        under_way += 1
        seen.append(under_way)
        await asyncio.sleep(0)
        under_way -= 1

    asyncio.run(burst(submit, count=20, clients=4))
    assert (len(seen), max(seen)) == (20, 4)


def test_a_paced_load_does_not_wait_for_answers() -> None:
    """All calls are sent, although the first is answered only after the last has been sent."""

    async def load() -> float:
        sent, all_sent = list[float](), asyncio.Event()

        async def submit() -> None:
            sent.append(asyncio.get_running_loop().time())
            if len(sent) == 10:
                all_sent.set()
            await all_sent.wait()

        async with asyncio.timeout(10):
            await paced(submit, count=10, per_s=100)
        return sent[-1] - sent[0]

    assert asyncio.run(load()) >= 0.08


OWN_BATCH = b"PATCH http://127.0.0.1/a/responses(PartitionKey='0',RowKey='resp%7Cresp_0') HTTP/1.1\r\n\r\n{}"
MOVE_BATCH = b'POST http://127.0.0.1/a/responses HTTP/1.1\r\n\r\n{"RowKey": "alarm|0000000000001|poll|resp_0"}'
SWEEP = "/a/responses()?$filter=PartitionKey%20eq%20%270%27%20and%20RowKey%20ge%20%27alarm%7C%27"
CHILDREN = "/a/responses()?$filter=PartitionKey%20eq%20%270%27%20and%20RowKey%20ge%20%27resp%7Cresp_0%7Cinput%7C%27"


@pytest.mark.parametrize(
    ("request_", "kind"),
    [
        (StorageRequest("table", "POST", "/a/$batch", OWN_BATCH), Kind("table transaction", True)),
        (StorageRequest("table", "POST", "/a/$batch", MOVE_BATCH), Kind("table transaction", False)),
        (StorageRequest("table", "GET", SWEEP, b""), Kind("table query", False)),
        (StorageRequest("table", "GET", CHILDREN, b""), Kind("table query", True)),
        (StorageRequest("queue", "PUT", "/a/nudges/messages/1?popreceipt=x", b""), Kind("queue other", False)),
    ],
)
def test_a_request_is_own_work_or_shared_work(request_: StorageRequest, kind: Kind) -> None:
    """A request with a record's key is a response's own. A request with only alarms serves a whole shard."""
    assert kind_of(request_) == kind


def test_requests_are_counted_for_each_response() -> None:
    """Every name has a row, in which own and shared requests are separate."""
    own, shared = (StorageRequest("table", "POST", "/a/$batch", body) for body in (OWN_BATCH, MOVE_BATCH))
    found = counts([own, own, own, shared], responses=2)
    assert [one.name for one in found] == list(NAMES)
    assert found[0] == Count("table transaction", own=1.5, shared=0.5)
    assert found[0].in_full == 2


@pytest.fixture
def listening(azurite: Azurite) -> Iterator[Tap]:
    """Run a tap in front of Azurite."""
    targets = {service: azurite.ports[service] for service in ("table", "queue")}
    with start_blocking_portal() as portal, portal.wrap_async_context_manager(tap(targets)) as running:
        yield running


def test_the_tap_distinguishes_table_requests(listening: Tap, connection_string: str) -> None:
    """The library's requests pass unchanged, and are recognised by their form on the wire."""
    record = {"PartitionKey": "0", "RowKey": "resp|resp_0", "facts": "{}"}
    alarm = {"PartitionKey": "0", "RowKey": "alarm|0000000000001|poll|resp_0"}
    query = "PartitionKey eq '0' and RowKey ge 'alarm|' and RowKey lt 'alarm|~'"
    with TableClient.from_connection_string(listening.through(connection_string), "responses") as table:
        table.create_table()
        listening.requests.clear()
        table.submit_transaction([("create", record), ("create", alarm)])
        table.submit_transaction([("update", record)])
        table.submit_transaction([("delete", alarm), ("create", {**alarm, "RowKey": alarm["RowKey"] + "1"})])
        assert table.get_entity("0", "resp|resp_0")["facts"] == "{}"
        assert [row["RowKey"] for row in table.query_entities(query)] == [alarm["RowKey"] + "1"]
        table.delete_entity("0", alarm["RowKey"] + "1")
    assert [kind_of(request) for request in listening.requests] == [
        Kind("table transaction", True),
        Kind("table transaction", True),
        Kind("table transaction", False),
        Kind("table get", True),
        Kind("table query", False),
        Kind("table other", True),
    ]


@pytest.mark.parametrize(("name", "is_own"), [("deliveries", True), ("nudges", False)])
def test_the_tap_distinguishes_queue_requests(listening: Tap, connection_string: str, name: str, is_own: bool) -> None:
    """Delivery messages are a response's own. Wake-ups are shared, and so is a poll that finds nothing."""
    with QueueClient.from_connection_string(listening.through(connection_string), name) as queue:
        queue.create_queue()
        listening.requests.clear()
        assert queue.receive_message() is None
        queue.send_message("look")
        message = queue.receive_message()
        assert message
        assert message.content == "look"
        queue.delete_message(message)
    assert [kind_of(request) for request in listening.requests] == [
        Kind("queue get, empty", False),
        Kind("queue put", is_own),
        Kind("queue get", is_own),
        Kind("queue delete", is_own),
    ]


def test_the_model_lists_when_each_response_completed() -> None:
    """Completed work is listed by its key, with its unix time. If two starts have one key, the first counts."""
    simulation = Simulation(unix_offset_s=1_000_000)
    for second, key in enumerate(["a", "a", "b", "c", None]):
        simulation.start({"model": "sim-2s", "background": True}, key, now_s=second)
    failing = {"model": "sim-fail-0.1s", "background": True}
    simulation.start(failing, "d", now_s=0)
    assert simulation.completions(now_s=4.5) == {"a": 1_000_002, "b": 1_000_004}
