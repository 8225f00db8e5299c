"""The benchmark of a flood: what it computes, that the flood comes at once, and that its runs measure something."""

import asyncio

import pytest

from local.bench.builds.build import Build
from local.bench.deliveries.black_hole import black_holes
from local.bench.deliveries.lines import NEVER, Beside
from local.bench.loads.flood import callback_values, during, flood_run, flood_values, latencies
from local.bench.loads.flooder import Flood, flood
from local.bench.loads.sizes import Sizes
from local.bench.meters.figures import Submission

TINY = Sizes(flood=20, quiet=4, dead=4, beside=8)
FLOOD = Flood(began_s=10.0, ended_s=14.0, sent=1000, accepted=600)


def _took(*times_ms: float, at_s: float = 11.0) -> list[Submission]:
    return [Submission(at_s, at_s + one / 1000, "resp_a") for one in times_ms]


def test_only_creates_that_were_under_way_in_the_flood_count() -> None:
    """The process of the flood starts before the flood, and it ends after it."""
    times = [(9.0, 9.9), (9.9, 10.1), (11.0, 11.1), (13.9, 14.2), (14.1, 14.2)]
    assert during(FLOOD, [Submission(*one, "resp_a") for one in times]) == [
        Submission(*one, "resp_a") for one in times[1:4]
    ]


def test_latencies_in_the_flood_are_compared_with_those_alone() -> None:
    """The ratios are of the same percentile. A create that is refused has no latency, and is counted."""
    beside = [*_took(20, 30, 100), Submission(11, 12, None)]
    found = latencies(_took(10, 10, 40), beside)
    assert (found["creates"], found["refused"]) == (4, 1)
    assert {name: found[f"quiet_{name}_ms"] for name in ("p50", "p95")} == pytest.approx({"p50": 10, "p95": 40})
    assert {name: found[f"flood_{name}_ms"] for name in ("p50", "p95", "worst")} == pytest.approx(
        {"p50": 30, "p95": 100, "worst": 100}
    )
    assert {name: found[f"times_{name}"] for name in ("p50", "p95")} == pytest.approx({"p50": 3, "p95": 2.5})


def test_a_flood_that_leaves_no_create_has_no_ratio() -> None:
    """There is nothing to compare."""
    found = latencies(_took(10), [])
    assert found["flood_p95_ms"] is found["times_p95"] is None


def test_what_is_accepted_of_the_flood_is_counted_from_its_first_create_to_its_last_answer() -> None:
    """What is refused does not count."""
    assert flood_values(FLOOD) == {"flood_accepted": 600, "flood_per_s": 150}


def test_callbacks_beside_dead_hosts_are_compared_with_those_without() -> None:
    """A callback that never came has no latency, and it is missing in the share that came."""
    found = callback_values(Beside([10.0, 20.0], [30.0, NEVER]))
    assert found == {"beside_well_ms": 20, "beside_dead_ms": 30, "times_dead": 1.5, "called_back": 0.5}
    assert callback_values(Beside([10.0], [NEVER]))["times_dead"] is None


async def test_the_creates_of_a_flood_are_under_way_at_once() -> None:
    """A server that answers nobody before everybody has asked answers all of them. One is refused."""
    asking, all_ask = list[bytes](), asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asking.append(await reader.readuntil(b"}"))
        status = b"429 Too Many Requests" if len(asking) == 1 else b"200 OK"
        if len(asking) == 50:
            all_ask.set()
        await all_ask.wait()
        writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server, asyncio.timeout(20):
        port = server.sockets[0].getsockname()[1]
        found = await flood(f"http://127.0.0.1:{port}/openai/v1/responses", "secret", 50)
    assert (found.sent, found.accepted) == (50, 49)
    assert found.ended_s > found.began_s
    assert all(b"Authorization: Bearer secret" in one and b'"background": true' in one for one in asking)


async def test_a_flood_that_nobody_answers_accepts_nothing() -> None:
    """A connection that is refused is no error of the flood."""
    async with await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
    assert (await flood(f"http://127.0.0.1:{port}/", "secret", 3)).accepted == 0


async def test_every_dead_host_has_an_address_of_its_own() -> None:
    """So each is another host to the service."""
    async with black_holes(["127.0.1.1", "127.0.1.2"]) as urls:
        assert {url.rpartition(":")[0] for url in urls} == {"http://127.0.1.1", "http://127.0.1.2"}


def test_a_small_flood_is_measured_on_the_real_stack() -> None:
    """All creates of both callers are accepted, and every callback comes although the other caller's hosts are dead."""
    found = flood_run(Build(), TINY)
    assert (found["flood_accepted"], found["refused"], found["called_back"]) == (20, 0, 1)
    assert (found["creates"] or 0) >= 1
    for name in ("quiet_p95_ms", "flood_p95_ms", "times_p95", "flood_per_s", "beside_well_ms", "beside_dead_ms"):
        assert (found[name] or 0) > 0, name
