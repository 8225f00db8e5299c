"""The simulated model's special texts: many deltas, a clock, a blob, a long silence, a reasoning summary, JSON."""

import time
import zlib
from itertools import pairwise

from pydantic import BaseModel

from local.model.events import timeline
from local.model.simulation import Simulation
from tests.support.peer_processes import Event, ModelPeer

DELTA = "response.output_text.delta"


def deltas(events: list[Event]) -> list[str]:
    """Return the deltas of the text in order."""
    return [event["delta"] for event in events if event["type"] == DELTA]


def final_text(events: list[Event]) -> str:
    """Return the text of the message in the terminal event."""
    text: str = events[-1]["response"]["output"][-1]["content"][0]["text"]
    return text


def test_each_delta_holds_one_number(model: ModelPeer) -> None:
    """`sim-events-n` counts from 0 in exactly n deltas."""
    seen = model.streamed("sim-events-3000", background=True)
    assert [int(delta) for delta in deltas(seen)] == list(range(3000))
    assert "".join(deltas(seen)) == final_text(seen)
    assert model.replayed(seen[0]["response"]["id"], after=2999) == seen[3000:]


def test_each_delta_of_a_clock_holds_its_due_time(model: ModelPeer) -> None:
    """`sim-clock-1s` sends 20 deltas, 50 ms apart.

    Each contains its own due time in unix ms, and none is sent before it.
    """
    seen: list[Event] = []
    late_ms: list[float] = []
    with model.streaming("sim-clock-1s") as stream:
        for event in stream:
            seen.append(event)
            late_ms += [time.time() * 1000 - int(event["delta"])] if event["type"] == DELTA else []
    due_ms = [int(delta) for delta in deltas(seen)]
    assert len(due_ms) == 20
    assert all(49 <= after - before <= 51 for before, after in pairwise(due_ms))
    # The model's clock was read at its start and is rounded, so it may differ from this one by a few ms.
    assert all(-20 < late < 1000 for late in late_ms)
    assert "".join(f"{due} " for due in due_ms) == final_text(seen)


def test_a_delta_of_a_clock_happens_at_the_time_that_it_holds() -> None:
    """Each delta of `sim-clock` happens at the time that its text states."""
    work = Simulation(unix_offset_s=1_000_000).start({"model": "sim-clock-2.5s", "background": True}, None, now_s=7)
    ticks = [(after_s, event["delta"]) for after_s, event in timeline(work) if event["type"] == DELTA]
    assert len(ticks) == 50
    assert ticks == [(n / 20, f"{1_000_007_000 + n * 50} ") for n in range(1, 51)]


def test_a_blob_is_one_large_delta(model: ModelPeer) -> None:
    """`sim-blob-2mb` writes 2 MiB of printable text in one delta, and the text compresses badly."""
    seen = model.streamed("sim-blob-2mb")
    [blob] = deltas(seen)
    assert blob == final_text(seen)
    assert len(blob) == 2 << 20
    assert set(blob) <= set(map(chr, range(33, 127)))
    assert len(zlib.compress(blob.encode())) > 0.8 * len(blob)


def test_a_silent_model_emits_nothing_until_its_end(model: ModelPeer) -> None:
    """`sim-silent` is in progress at once, emits nothing for its duration, and then emits everything."""
    with model.streaming("sim-silent-0.5s", background=True) as stream:
        opening = [next(stream)["type"] for _ in range(3)]
        begin = time.monotonic()
        rest = [next(stream)]
        quiet_s = time.monotonic() - begin
        rest += stream
    assert opening == ["response.created", "response.queued", "response.in_progress"]
    assert quiet_s > 0.3
    assert time.monotonic() - begin - quiet_s < 0.3
    assert "simulated by sim-silent-0.5s" in "".join(deltas(rest))


def test_a_reasoning_model_emits_a_summary_before_its_message(model: ModelPeer) -> None:
    """`sim-reason` streams a reasoning item with a summary, then the message. The SDK reads both."""
    with model.sdk.responses.stream(model="sim-reason-0.2s", input="Whales sing.") as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_response()
    assert [item.type for item in final.output] == ["reasoning", "message"]
    assert final.output[0].to_dict()["summary"] == [{"type": "summary_text", "text": "Simulated by sim-reason-0.2s."}]
    assert final.usage is not None
    assert final.usage.output_tokens_details.reasoning_tokens == 3
    assert [kind for kind in kinds if "reasoning" in kind] == [
        "response.reasoning_summary_part.added",
        *["response.reasoning_summary_text.delta"] * 3,
        "response.reasoning_summary_text.done",
        "response.reasoning_summary_part.done",
    ]


class Report(BaseModel):
    """A structured answer that a program may ask for instead of a text."""

    headline: str
    places: int
    author: str | None


def test_an_answer_fits_the_requested_schema(model: ModelPeer) -> None:
    """With a JSON schema, the text is JSON that the SDK parses. It says that it is simulated."""
    parsed = model.sdk.responses.parse(model="sim-instant", input="Whales sing.", text_format=Report).output_parsed
    assert parsed
    assert parsed.headline.startswith("This answer is simulated by sim-instant")
    assert (parsed.places, parsed.author) == (1, None)
