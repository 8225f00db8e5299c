"""Repeats: in every order of the steps of a try and its repeats, they are one work, and two first tries are two.

A try is a client's POST: it looks for its place, accepts its work unless it joins, and may be left by its client or die
with its process at any step. The code is the product's. Storage is a fake that lets one operation pass at a time, in
every order.
"""

import asyncio
from collections.abc import Coroutine
from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from shared.core.states import Status
from shared.foreground.clients import Client
from shared.foreground.repeats import ANSWERED_MS, LOOK_AGAIN_S, LOOKS, YOUNG_MS, Repeats
from tests.support.repeats_world import OPENAI_AGAIN, OWNER, Story, World, at_work, outcomes, played

OPENAI_FIRST = Client(retry_count=0)
OTHER = Client()
DOTNET = Client(bounds_body=True)


def first_and_repeat(world: World) -> list[Coroutine[Any, Any, None]]:
    """Let OpenAI's SDK make a try and its repeat, which overtakes it or comes after its death."""
    return [world.post("resp_1", OPENAI_FIRST), world.post("resp_2", OPENAI_AGAIN)]


def repeats_alone(world: World) -> list[Coroutine[Any, Any, None]]:
    """Two repeats of a try that never arrived."""
    return [world.post("resp_2", OPENAI_AGAIN), world.post("resp_3", replace(OPENAI_AGAIN, retry_count=2))]


@pytest.mark.parametrize(
    ("story", "dies"),
    [(first_and_repeat, True), (repeats_alone, False)],
)
def test_a_try_and_its_repeats_are_one_work(story: Story, dies: bool) -> None:
    """In every order of their steps, and if the first try dies at any of them. A later repeat joins, too."""
    assert outcomes(story, dies=dies, tries=2).keys() == {1}


@pytest.mark.parametrize("leaves", list(product([False, True], repeat=2)), ids=str)
@pytest.mark.parametrize("dies", [False, True])
def test_a_try_and_two_repeats_are_one_work(leaves: tuple[bool, bool], dies: bool) -> None:
    """The first try may come last, after both repeats, or die. The client may leave it, and the second one, too."""

    def story(world: World) -> list[Coroutine[Any, Any, None]]:
        return [
            world.post("resp_1", OPENAI_FIRST, leaves=leaves[0]),
            world.post("resp_2", OPENAI_AGAIN, leaves=leaves[1]),
            world.post("resp_3", replace(OPENAI_AGAIN, retry_count=2)),
        ]

    assert outcomes(story, dies=dies, tries=3, length=18, most=1_000 if dies else 6_000).keys() == {1}


def test_a_first_try_that_comes_after_two_repeats_joins_them() -> None:
    """The second repeat does not take the place of the first try. Another first try is new work."""
    world = World()
    _after(
        world,
        world.post("resp_2", OPENAI_AGAIN),
        world.post("resp_3", replace(OPENAI_AGAIN, retry_count=2)),
        world.post("resp_1", OPENAI_FIRST),
        world.post("resp_4", OPENAI_FIRST),
    )
    assert world.answers == ["resp_2", "resp_2", "resp_2", "resp_4"]


@pytest.mark.parametrize(
    ("status", "ago_ms", "awaits"),
    [
        (Status.COMPLETED, ANSWERED_MS, True),
        (Status.FAILED, ANSWERED_MS, True),
        (Status.FAILED, 0, False),  # this is the try that the POST repeats, so another first try is another call
    ],
)
def test_an_old_row_awaits_a_first_try_like_none(status: Status, ago_ms: int, awaits: bool) -> None:
    """The same request was made before, and ended. A repeat overtakes the first try of the next one."""
    world = World()
    _run(world.post("resp_0", OPENAI_FIRST))
    _ended(world, "resp_0", status, ago_ms)
    _after(world, world.post("resp_2", OPENAI_AGAIN), world.post("resp_1", OPENAI_FIRST))
    assert world.answers == ["resp_0", "resp_2", "resp_2" if awaits else "resp_1"]


def test_a_late_first_try_does_not_join_a_work_that_has_failed() -> None:
    """That is tried anew, as by any repeat, and the row awaits nobody from then on."""
    world = World()
    _run(world.post("resp_2", OPENAI_AGAIN))
    _ended(world, "resp_2", Status.FAILED, 0)
    _after(world, world.post("resp_1", OPENAI_FIRST), world.post("resp_4", OPENAI_FIRST))
    assert world.answers == ["resp_2", "resp_1", "resp_4"]


def test_two_first_tries_of_which_one_is_repeated_are_two_works() -> None:
    """In every order of their steps. The repeat joins one of them, or is joined by one."""

    def story(world: World) -> list[Coroutine[Any, Any, None]]:
        return [
            world.post("resp_1", OPENAI_FIRST),
            world.post("resp_2", OPENAI_FIRST),
            world.post("resp_3", OPENAI_AGAIN),
        ]

    assert outcomes(story, dies=False, tries=3, length=18, most=2_000).keys() == {2}


@pytest.mark.parametrize("client", [OPENAI_FIRST, OTHER, DOTNET])
def test_two_first_tries_are_two_works(client: Client) -> None:
    """Two equal calls that are made on purpose stay two, as long as nobody leaves."""
    assert outcomes(
        lambda world: [world.post("resp_1", client), world.post("resp_2", client)], dies=False, tries=2, length=14
    ).keys() == {2}


def test_ten_equal_calls_are_ten_works() -> None:
    """They come one after the other, and their client waits for each."""

    def story(world: World) -> list[Coroutine[Any, Any, None]]:
        return [world.post(f"resp_{n}", OPENAI_FIRST) for n in range(10)]

    world, _ = played(story, [0] * 200, None)
    assert len(world.works) == 10


# Clients for .NET, which do not say that they repeat


async def _dotnet(world: World, leaves_late: int) -> None:
    """One client: it leaves a work, and repeats at the same moment. The leaving is written some steps later."""
    await world.post("resp_1", DOTNET)

    async def leaving() -> None:
        for _ in range(leaves_late):
            await asyncio.sleep(0)
        await world.leave("resp_1", DOTNET)

    gone, again = leaving(), world.post("resp_2", DOTNET)
    pending: list[Coroutine[Any, Any, None]] = [gone, again]
    while pending:
        for one in tuple(pending):
            try:
                one.send(None)
            except StopIteration:
                pending.remove(one)
            await asyncio.sleep(0)


@pytest.mark.parametrize("late", range(12))
def test_a_repeat_without_a_header_waits_for_the_leaving(late: int) -> None:
    """It looks again for up to 2 s, so it joins although the leaving is written after it has come."""
    world, _ = played(lambda world: [_dotnet(world, late)], [0] * 400, None)
    assert (world.works, world.answers) == (["resp_1"], ["resp_1", "resp_1"])
    assert LOOKS * LOOK_AGAIN_S == 2.0


def test_a_repeat_that_nobody_left_is_new_work_after_two_seconds() -> None:
    """The first client is still there, so this is a call of its own."""
    world = World()
    world.records["resp_1"] = at_work("resp_1")
    before_ms = world.now_ms
    _run(world.post("resp_1", DOTNET))
    _run(world.post("resp_2", DOTNET))
    assert world.answers == ["resp_1", "resp_2"]
    assert world.now_ms - before_ms == 2_000


# The cases, one by one


def _run(work: Coroutine[Any, Any, None]) -> None:
    asyncio.run(work)


def _after(world: World, *steps: Coroutine[Any, Any, None]) -> World:
    for one in steps:
        _run(one)
    return world


def _ended(world: World, response_id: str, status: Status, ago_ms: int) -> None:
    world.records[response_id] = replace(at_work(response_id), status=status, ended_ms=world.now_ms - ago_ms)


def test_a_first_try_joins_only_what_was_left() -> None:
    """A client without a retry count that repeats by hand, after it has left."""
    world = World()
    _after(world, world.post("resp_1", OTHER), world.leave("resp_1", OTHER), world.post("resp_2", OTHER))
    assert world.answers == ["resp_1", "resp_1"]
    _run(world.post("resp_3", OTHER))  # the work has a client again
    assert world.answers[-1] == "resp_3"


@pytest.mark.parametrize(
    ("status", "ago_ms", "joins"),
    [
        (Status.COMPLETED, 0, True),
        (Status.INCOMPLETE, ANSWERED_MS - 1, True),
        (Status.COMPLETED, ANSWERED_MS, False),
        (Status.FAILED, 0, False),
        (Status.CANCELLED, 0, False),
    ],
)
@pytest.mark.parametrize("is_left", [True, False])
def test_a_good_end_answers_a_repeat_for_two_minutes(status: Status, ago_ms: int, joins: bool, is_left: bool) -> None:
    """A failed work is tried anew."""
    world = World()
    _run(world.post("resp_1", OPENAI_FIRST))
    if is_left:
        _run(world.leave("resp_1", OPENAI_FIRST))
    _ended(world, "resp_1", status, ago_ms)
    _run(world.post("resp_2", OPENAI_AGAIN))
    assert (world.answers[-1] == "resp_1") is joins


def test_a_good_end_does_not_answer_a_first_try() -> None:
    """The same question, asked again on purpose, is new work, and the row names that from now on."""
    world = World()
    _run(world.post("resp_1", OPENAI_FIRST))
    _ended(world, "resp_1", Status.COMPLETED, 0)
    _after(world, world.post("resp_2", OPENAI_FIRST), world.post("resp_3", OPENAI_AGAIN))
    assert world.answers == ["resp_1", "resp_2", "resp_2"]


def test_a_row_whose_work_never_came_is_old_after_a_minute() -> None:
    """Until then a repeat goes on under its id. After that, its first try is dead."""
    world = World()
    asyncio.run(Repeats(world.ports(), OWNER, "resp_1", OPENAI_FIRST).place(inserts=True))
    world.now_ms += YOUNG_MS - 1
    _run(world.post("resp_2", OPENAI_AGAIN))
    assert world.works == ["resp_1"]
    del world.records["resp_1"]
    world.now_ms += 1
    _run(world.post("resp_3", OPENAI_AGAIN))
    assert world.works[-1] == "resp_3"


def test_a_deleted_response_is_joined_by_nobody() -> None:
    """It does not exist for its caller any more."""
    world = World()
    _run(world.post("resp_1", OPENAI_FIRST))
    world.records["resp_1"] = replace(at_work("resp_1"), status=Status.COMPLETED, ended_ms=world.now_ms, deleted=True)
    _run(world.post("resp_2", OPENAI_AGAIN))
    assert world.answers[-1] == "resp_2"


def test_what_was_left_is_taken_once() -> None:
    """A cancellation and a repeat both take the work out of those that were left, and one of them gets it."""
    world = World()
    _after(world, world.post("resp_1", OTHER), world.leave("resp_1", OTHER))
    repeats = Repeats(world.ports(), OWNER, "resp_1", OTHER)
    assert asyncio.run(repeats.take("resp_1"))
    assert not asyncio.run(repeats.take("resp_1"))
    _run(world.post("resp_2", OTHER))
    assert world.answers[-1] == "resp_2"
