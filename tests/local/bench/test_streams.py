"""The benchmark of streams: how it reads them, what it computes, and that its runs measure something."""

import asyncio
import time

import pytest

from local.bench.meters.figures import Usage
from local.bench.streams.client import Piece, StreamClient, late_ms, pieces
from local.bench.streams.lines import Streamed
from local.bench.streams.runs import streamed
from local.bench.streams.timed import WINDOWS, Size, count_requests, time_streams
from local.stack.process import PartError
from tests.support.peer_processes import ModelPeer

FRAMES = [
    b'id: a\nevent: response.created\ndata: {"response":{"id":"resp_%b"},"sequence_number":0}\n\n' % (b"0a" * 16),
    b'event: response.output_text.delta\ndata: {"delta":"1700000000050 ","sequence_number":1}\n\n',
    b'event: response.output_text.delta\ndata: {"delta":"1700000000100 ","sequence_number":2}\n\n',
]
ON_THE_WIRE = b"".join(b"%x\r\n%b\r\n" % (len(frame), frame) for frame in FRAMES) + b"0\r\n\r\n"
SEEN = Streamed(
    first_ms=[9.0, 7.0, 8.0],
    live_ms=[2.0, 1.0, 40.0],
    tail_ms=[300.0],
    finished_ms=[10.0],
    growing_ms=[],
    at_once_ms=[5.0] * 199,
    usage=Usage(host_cpu_s=0.1, azurite_cpu_s=0.05, host_peak_bytes=64 * 2**20),
    streamed_s=10,
)
TINY = Size(first_events=2, alone_s=1, logged=300, resumes=2, growing_s=2, at_once=2, at_once_s=1, window_s=2)


async def _cut(at: int) -> list[Piece]:
    """Return what is read when the data on the wire arrives in two parts, the first of which has `at` bytes."""
    reader = asyncio.StreamReader()
    reader.feed_data(ON_THE_WIRE[:at])
    reading = asyncio.create_task(_read(reader))
    await asyncio.sleep(0)
    reader.feed_data(ON_THE_WIRE[at:])
    reader.feed_eof()
    return await reading


async def _read(reader: asyncio.StreamReader) -> list[Piece]:
    return [piece async for piece in pieces(reader)]


async def test_frames_are_read_whole_wherever_the_data_is_split() -> None:
    """Each event is found once, and the sizes of HTTP chunks hide none."""
    for at in range(len(ON_THE_WIRE)):
        found = await _cut(at)
        assert [number for piece in found for number in piece.numbers] == [0, 1, 2]
        assert found[0].response_id == "resp_" + "0a" * 16
        assert sum(len(piece.late_ms) for piece in found) == 2


async def test_a_piece_has_its_time_of_arrival() -> None:
    """The time of a piece is in unix milliseconds."""
    before_ms = time.time() * 1000
    found = await _cut(0)
    assert all(before_ms <= piece.at_ms <= time.time() * 1000 for piece in found)


def test_the_delay_of_a_delta_is_computed_from_its_text() -> None:
    """The text of a delta is the unix ms at which it was due. Other events have no due time."""
    assert Piece(1_700_000_000_112.5, b"".join(FRAMES)).late_ms == [62.5, 12.5]
    assert Piece(1_700_000_000_112.5, FRAMES[0]).late_ms == []


async def test_a_stream_is_read_live_and_resumed(model: ModelPeer) -> None:
    """Each delta is timestamped on arrival, soon after it was due. Events above a number can be read again."""
    client = StreamClient(f"{model.http.base_url}/v1", "any")
    async with client.create("sim-clock-0.5s") as live:
        first = await anext(live)
        late = first.late_ms + await late_ms(live)
    assert len(late) == 10
    assert all(-1 < one < 250 for one in late)
    async with client.resume(first.response_id, 4) as resumed:
        numbers = [number async for piece in resumed for number in piece.numbers]
    assert numbers[0] == 5
    assert numbers == sorted(set(numbers))


async def test_a_stream_that_is_refused_reports_the_host(model: ModelPeer) -> None:
    """An answer other than 200 raises an error that names the host and the status."""
    client = StreamClient(f"{model.http.base_url}/v1", "any")
    with pytest.raises(PartError, match=r"host: GET .* answered HTTP/1.1 404"):
        async with client.resume("resp_" + "0" * 32, 0):
            pass


def test_the_timed_run_measures_everything() -> None:
    """In a small run on the real stack, every event that was due arrives, and none arrives before it was due."""
    seen = time_streams(TINY)
    assert (len(seen.first_ms), len(seen.finished_ms), len(seen.growing_ms)) == (2, 2, 2)
    assert (len(seen.live_ms), len(seen.tail_ms), len(seen.at_once_ms)) == (20, 20, 40)
    assert all(one > -1 for one in (*seen.first_ms, *seen.live_ms, *seen.tail_ms, *seen.at_once_ms))
    assert sum(seen.tail_ms) > sum(seen.live_ms)
    assert seen.usage.host_cpu_s > 0


def test_the_counted_run_sees_the_log_written_and_read() -> None:
    """A live stream writes its log, at most once in 100 ms. A second reader is fed by the run, and adds nothing."""
    found = {window: {one.name: one.own for one in counts} for window, counts in count_requests(TINY).items()}
    assert list(found) == list(WINDOWS)
    assert all(1 <= own["table transaction"] <= 11 for own in found.values())
    assert all(found[window]["table query"] < 1 for window in WINDOWS)


def test_streams_are_values_to_compare() -> None:
    """There is a p50 and a p99 of each latency, what a streamed second used, and how many events never came."""
    found = streamed(SEEN)
    assert (found["live_ms_p50"], found["live_ms_p99"], found["growing_ms_p50"]) == (2.0, 40.0, None)
    assert (found["host_ms_per_s"], found["azurite_ms_per_s"], found["peak_mib"]) == (10.0, 5.0, 64)
    assert found["missing"] == 1
