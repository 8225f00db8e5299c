"""What responses in lines wait for, as callers and operators read it: the state of their gate now."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from shared.core.errors import UpstreamUnavailable
from shared.core.gates.state import place_of
from shared.core.records import Record
from shared.core.states import Status, WaitReason
from shared.engine import Engine
from shared.lists.queries import parse_responses
from tests.support.conditions import until
from tests.support.proxies.fault_proxy import StorageRequest
from tests.support.stage import ANN, Stage
from tests.support.stream_clients import Reader, streamed

DOWN = UpstreamUnavailable("status 503")
BUSY = UpstreamUnavailable("status 429", retry_after_s=20, waits_for=WaitReason.RATE_LIMIT)


async def line_of(stage: Stage, count: int) -> list[Record]:
    """Return so many responses at an upstream that works on one. The first is at work, and the others wait."""
    stage.treat(limits={"*": 1})
    made = []
    for _ in range(count):
        stage.clock.ms += 1  # the older one comes first
        made.append(await stage.create())
    return made


async def handed_on(stage: Stage, record: Record) -> None:
    """End a response, and let its gate give the permit to the next one."""
    assert (await stage.finish(record.id)).status is Status.COMPLETED
    await asyncio.gather(*stage.ports.background.tasks)
    await stage.gate_tasks.finished()


async def polled(engine: Engine, record: Record) -> dict[str, Any]:
    """Return what a response waits for, as a poll in a process has it. It is empty if that is its work."""
    return dict(orjson.loads((await engine.retrieve(ANN, record.id))[1]).get("waiting", {}))


async def told(engine: Engine, made: list[Record]) -> list[tuple[Any, ...]]:
    """Return the reason, detail, tries, next try and place of each response that waits.

    A poll, the caller's list and the operator's say the same.
    """
    ids = [one.id for one in made]
    mine = (await engine.lists.responses(ANN, parse_responses({"order": "asc"})))["data"]
    every = (await engine.operators.responses(parse_responses({"order": "asc"}), None))["data"]
    one_caller = (await engine.operators.responses(parse_responses({"order": "asc"}), ANN.name))["data"]
    polls = [await polled(engine, one) for one in made]
    for listed in (mine, every, one_caller):
        assert [one.get("waiting", {}) for one in listed if one["id"] in ids] == polls
    return [tuple(one[name] for name in ("reason", "detail", "tries", "next_at", "place")) for one in polls if one]


async def counted(engine: Engine) -> tuple[dict[str, int], list[tuple[str, str | None, int]]]:
    """Return what an operator's status counts: responses by reason, and of each gate state, reason and line."""
    status = await engine.operators.status()
    gates = [(one["state"], one["reason"], one["waiting"]) for one in status["gates"]]
    return dict(status["in_flight"]["waiting"]), gates


async def test_a_line_says_what_its_gate_is(stage: Stage) -> None:
    """The gate closes, opens by a probe, and has more permits. Nothing is written for those that only wait."""
    made = await line_of(stage, 5)
    assert await told(stage.engine, made) == [("turn", "", 0, None, place) for place in (1, 2, 3, 4)]
    before = [(await stage.record(one.id)).write_id for one in made[3:]]
    stage.upstream.start_errors = [DOWN, DOWN]
    await handed_on(stage, made[0])
    closed_s = -(-stage.clock.ms // 1000) + 1
    refused = ("upstream_down", "status 503", 1, closed_s, 1)
    assert await told(stage.engine, made[1:]) == [
        refused,
        *(("upstream_down", "", 0, closed_s, place) for place in (2, 3, 4)),
    ]
    assert await counted(stage.engine) == ({"upstream_down": 4}, [("closed", "upstream_down", 4)])
    await stage.fire_gates()
    assert [one[2:] for one in await told(stage.engine, made[1:])] == [
        (2, closed_s + 2, 1),
        *((0, closed_s + 2, place) for place in (2, 3, 4)),
    ]
    await stage.fire_gates()
    assert (await stage.record(made[1].id)).upstream.token
    assert await told(stage.engine, made[2:]) == [("turn", "", 0, None, place) for place in (1, 2, 3)]
    assert await counted(stage.engine) == ({"turn": 3}, [("stepping", "upstream_down", 3)])
    assert [(await stage.record(one.id)).write_id for one in made[3:]] == before
    stage.treat(limits={"*": 2})
    await stage.fire_gates()
    assert await told(stage.engine, made[3:]) == [("turn", "", 0, None, place) for place in (1, 2)]


async def test_what_entered_while_closed_waits_for_its_turn_when_it_is_open(stage: Stage) -> None:
    """Neither the reason nor a time that is past stays."""
    stage.treat(limits={"*": 1})
    stage.upstream.start_errors = [BUSY]
    made = await line_of(stage, 3)
    assert {one[0] for one in await told(stage.engine, made)} == {"rate_limit"}
    await stage.fire_gates()
    assert await told(stage.engine, made) == [("turn", "", 0, None, place) for place in (1, 2)]


async def test_another_process_says_the_same(stage: Stage) -> None:
    """It reads the gate once without a view, and again when a second has passed."""
    made = await line_of(stage, 3)
    other = await stage.process()
    assert await told(other, made) == [("turn", "", 0, None, place) for place in (1, 2)]
    stage.upstream.start_errors = [DOWN]
    await handed_on(stage, made[0])
    here = await told(stage.engine, made[1:])
    assert [one[:2] for one in here] == [("upstream_down", "status 503"), ("upstream_down", "")]

    async def is_told() -> bool:
        return [await polled(other, one) for one in made[1:]] == [await polled(stage.engine, one) for one in made[1:]]

    await until(is_told)
    assert await counted(other) == await counted(stage.engine)


async def test_a_line_of_many_costs_one_read_of_its_gate(stage: Stage) -> None:
    """A process without a view reads the row once for all that wait, and for all polls within a second."""
    await line_of(stage, 30)
    engines = stage.engine, await stage.process()
    costs = []
    for engine in engines:
        before = stage.proxy.counts.copy()
        page = await engine.lists.responses(ANN, parse_responses({"limit": "100"}))
        costs.append(stage.proxy.counts - before)
        places = [one["waiting"]["place"] for one in page["data"] if "waiting" in one]
        assert places == [*range(29, 0, -1)]
    assert costs[1] - costs[0] in (Counter(), Counter({"GET responses(key)": 1}))
    assert costs[1]["GET responses(key)"] == 1


async def test_a_gate_that_cannot_be_read_leaves_what_is_stored(stage: Stage) -> None:
    """The caller is answered as before."""

    def is_of_gate(request: StorageRequest) -> bool:
        return request.method == "GET" and "gate" in request.path

    made = await line_of(stage, 2)
    stage.upstream.start_errors = [DOWN]
    await handed_on(stage, made[0])
    stage.clock.advance(5)
    stage.proxy.refuse(is_of_gate)
    waits = await polled(await stage.process(), made[1])
    assert (waits["reason"], waits["detail"], waits["tries"], waits["next_at"]) == (
        "upstream_down",
        "status 503",
        1,
        None,
    )


async def test_a_response_that_has_its_permit_waits_for_its_turn_no_longer(stage: Stage) -> None:
    """Its create is under way. One that was refused before says so until it succeeds."""
    made = await line_of(stage, 3)
    starting, stage.upstream.start_errors = stage.upstream.hold_starts(), [DOWN]
    await stage.finish(made[0].id)
    await starting.reached.wait()
    assert await told(stage.engine, made[1:]) == [("turn", "", 0, None, 1)]
    starting.open()
    await stage.gate_tasks.finished()
    assert [one[1] for one in await told(stage.engine, made[1:])] == ["status 503", ""]
    probing = stage.upstream.hold_starts()
    firing = asyncio.create_task(stage.fire_gates())
    await probing.reached.wait()
    found = await told(stage.engine, made[1:])
    assert [one[:3] for one in found] == [("upstream_down", "status 503", 1), ("upstream_down", "", 0)]
    assert [one[4] for one in found] == [None, 1]
    probing.open()
    await firing


# Streams


async def comments(reader: Reader) -> AsyncIterator[bytes]:
    """Yield the comments with which a silent stream says what its response waits for."""
    async with asyncio.timeout(20):
        async for chunk in reader.chunks:
            if chunk.startswith(b": waiting "):
                yield chunk


@pytest.mark.parametrize("is_background", [True, False], ids=["background", "foreground"])
async def test_a_stream_says_what_its_gate_is(stage: Stage, is_background: bool) -> None:
    """The comment in place of a heartbeat changes when the gate closes, although the record stays as it is."""
    stage.treat(limits={"*": 1})
    stage.upstream.is_background = is_background
    stage.pace(heartbeat_s=0.05, tail_idle_s=0.02, tail_max_s=0.05, wake_s=0.05)
    first = await stage.create()
    second = await streamed(stage)
    said = comments(second)
    assert b'"reason":"turn","detail":"","tries":0' in await anext(said)
    before = (await stage.record(second.id)).wait
    gate = stage.ports.upstreams.gate_named("default")
    await stage.ports.gates.refuse(gate, place_of(first), retry_after_s=60, reason="upstream_down", stays=False)
    async for comment in said:
        if b'"reason":"upstream_down"' in comment:
            break
    assert (await stage.record(second.id)).wait == before
    await second.leave()
