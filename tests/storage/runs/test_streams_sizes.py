"""Streams at their limits: requests and outputs that are too large, and a long log."""

import random
from base64 import b64encode
from typing import Any

import pytest

from shared.core import event_log
from shared.core.blobs import MAX_PACKED
from shared.core.errors import TooLarge
from shared.core.states import Status
from tests.support.fakes.streams import story
from tests.support.run_holders import logged
from tests.support.stage import Stage
from tests.support.stream_clients import expected_lines, kinds, lines_of, streamed

TRANSACTION_MAX = 4_194_304
"""The largest entity group transaction in bytes, as sent. Azure refuses a larger one, Azurite may not."""


def noise(size: int) -> str:
    """Return a text that hardly becomes smaller when it is packed, of about this size in bytes."""
    return b64encode(random.Random(size).randbytes(size)).decode()


def delta(text: str) -> dict[str, Any]:
    """Return an event with this text."""
    return {"type": "response.output_text.delta", "delta": text}


# Requests, and responses that repeat them


async def test_a_request_whose_echo_does_not_fit_is_too_large_for_a_stream(stage: Stage) -> None:
    """A streamed request is refused if it does not fit together with `response.created`, which repeats it.

    The same request is accepted without a stream.
    """
    instructions = noise(MAX_PACKED * 3 // 5)
    with pytest.raises(TooLarge) as refused:
        await streamed(stage, instructions=instructions)
    assert (refused.value.status, refused.value.code) == (413, "request_too_large")
    assert stage.upstream.streams.runs == []
    made = await stage.create(instructions=instructions)
    assert made.status is Status.QUEUED


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
async def test_a_request_over_the_limit_is_always_refused(stage: Stage, stream: bool, is_background: bool) -> None:
    """A request over the size limit is refused before work is started, streamed or not, for both kinds of upstream."""
    stage.upstream.is_background = is_background
    creating = streamed if stream else Stage.create
    with pytest.raises(TooLarge) as refused:
        await creating(stage, instructions=noise(MAX_PACKED * 21 // 20))
    assert refused.value.code == "request_too_large"
    assert stage.upstream.begun.total() == 0


async def test_an_output_whose_events_do_not_fit_is_shown_only_by_the_end(
    stage: Stage, transaction_sizes: list[int]
) -> None:
    """If the synthesized events of an output do not fit beside the final object, only the terminal event shows it.

    Here not even the first of these events fits, because it repeats the instructions.
    """
    stage.upstream.streams.whole = True
    stage.upstream.course = [Status.COMPLETED]
    stage.upstream.output = noise(MAX_PACKED * 2 // 5)
    reader = await streamed(stage, instructions=noise(MAX_PACKED * 9 // 20))
    received = await reader.rest()
    assert (kinds(received)[0], kinds(received)[-1]) == ("created", "completed")
    assert "output_text.delta" not in kinds(received)
    (item,) = received[-1][1]["response"]["output"]
    assert item["content"][0]["text"].endswith(stage.upstream.output)
    assert max(transaction_sizes) < TRANSACTION_MAX


# Reading


async def test_the_end_of_a_long_stream_is_read_without_its_log(stage: Stage) -> None:
    """A client that has read a long stream live reads only the end of the log after it, not all pages."""
    large = [delta(f"{n}".ljust(event_log.MAX_TEXT)) for n in range(3 * event_log.ROWS_A_PAGE)]
    events = stage.upstream.streams.events = story(event_log.MAX_EVENTS)
    events[2:2] = large
    gate = stage.upstream.streams.hold(len(events) - 1)
    reader = await streamed(stage)
    await reader.take(len(events) - 2)
    await logged(stage, reader.id, len(events) - 1)
    assert len(await stage.ports.store.children(reader.id, "event")) > len(large)
    before = stage.proxy.counts["GET responses()"]
    gate.open()
    assert lines_of(await reader.rest()) == expected_lines(events)
    assert stage.proxy.counts["GET responses()"] - before <= 2
