"""Orders of steps that chance meets rarely, written down: `python -m tests.model.search --scenario NAME`.

Each is a short run of the model with fixed steps, in a few variants. The invariants are those of every run.
"""

import contextlib
from collections.abc import Callable, Iterator
from functools import partial
from itertools import product

import orjson

from shared.starts.queue_intake import QueueMessage
from tests.model.clients import POLLED, STREAMED, Life
from tests.model.closing import close
from tests.model.peers import LOSES, REFUSES
from tests.model.silence import Nowhere
from tests.model.world import KEYED, MODELS, PLAIN, World

SEEDS = range(1, 13)
STEP_S, MOST_S = 0.01, 30.0
TAKEN_OVER_S = 200.0
FLUSHES_S, IDLE_S = 0.05, 0.5  # the events that came last are being stored then, and are stored
TOLD_S = 0.03  # the events that came last are told, and not stored
AWAY_S = 0.3  # so that the look at the record, which would tell the holder, fails


def cancelled_in_its_start(world: World) -> None:
    """Let a caller cancel while the call that starts the work is out. Then the answer comes in."""
    life = _created(world, KEYED, POLLED)
    _until(world, lambda: world.peers[KEYED].works)
    world.process(0).freeze()
    world.call(1, lambda process: world.callers.cancel(process, life))
    world.run(5.0)
    world.process(0).thaw()
    world.run(5.0)


def cancelled_after_a_lost_answer(world: World) -> None:
    """Lose the answer of the start, and let a caller cancel before the next try."""
    world.peers[KEYED].moods.append(LOSES)
    life = _created(world, KEYED, POLLED)
    _until(world, lambda: life.is_known)
    world.call(1, lambda process: world.callers.cancel(process, life))
    world.run(5.0)


def refused_from_the_queue(world: World) -> None:
    """Let the upstream refuse a request that came by queue. Its sender learns that by the response that fails."""
    world.peers[KEYED].moods.append(REFUSES)
    body = orjson.dumps({"request": {"model": MODELS[KEYED], "input": "question"}})
    world.call(0, lambda process: process.engine.take_request(QueueMessage("message-1", body)))
    world.run(5.0)


def taken_over(world: World, upstream: str, after_s: float, away_s: float) -> None:
    """Let the holder of a run stand still, until another process has taken the run. Then the first one goes on.

    It stands still `after_s` after some events. Storage is away for `away_s` when it goes on.
    """
    life = _created(world, upstream, STREAMED)
    _until(world, lambda: world.peers[upstream].works and world.audit.log(life.id))
    _progress(world, upstream)
    world.run(after_s)
    holder = world.process(0)
    holder.freeze()
    world.run(TAKEN_OVER_S)
    _progress(world, upstream)
    world.run(1.0)
    world.away_until_s = world.loop.time() + away_s
    holder.thaw()
    _progress(world, upstream)
    world.run(3.0)
    world.call(1, lambda process: world.callers.resume(process, life, -1))
    world.run(3.0)


def cancelled_behind_its_reader(world: World, upstream: str) -> None:
    """Let a caller cancel while a reader has events that are not stored yet. Their numbers are taken."""
    life = _created(world, upstream, STREAMED)
    _until(world, lambda: world.peers[upstream].works and world.audit.log(life.id))
    world.run(IDLE_S)
    _progress(world, upstream)
    world.run(TOLD_S)
    world.process(0).freeze()
    world.call(1, lambda process: world.callers.cancel(process, life))
    world.run(5.0)
    world.process(0).thaw()
    world.run(3.0)
    world.call(1, lambda process: world.callers.resume(process, life, -1))
    world.run(3.0)


def _variants() -> Iterator[tuple[str, Callable[[World], None]]]:
    for one in (cancelled_in_its_start, cancelled_after_a_lost_answer, refused_from_the_queue):
        yield one.__name__, one
    for upstream in (KEYED, PLAIN):
        yield cancelled_behind_its_reader.__name__, partial(cancelled_behind_its_reader, upstream=upstream)
    for upstream, (after_s, away_s) in product((KEYED, PLAIN), ((FLUSHES_S, 0.0), (IDLE_S, AWAY_S))):
        yield taken_over.__name__, partial(taken_over, upstream=upstream, after_s=after_s, away_s=away_s)


NAMES = tuple(dict.fromkeys(name for name, _ in _variants()))


def play(name: str) -> None:
    """Make the runs of a scenario, which differ in how long calls take. Raise the first violation."""
    for seed, (there, steps) in product(SEEDS, tuple(_variants())):
        if there == name:
            with contextlib.redirect_stdout(Nowhere()), contextlib.closing(World(seed)) as world:
                world.chaos = False
                steps(world)
                close(world)


def _created(world: World, upstream: str, kind: str) -> Life:
    """Let a caller create a response at the first process."""
    life = world.callers.new(MODELS[upstream], kind, has_callback=True)
    world.call(0, lambda process: world.callers.create(process, life))
    return life


def _progress(world: World, upstream: str) -> None:
    """Let all work of an upstream go on a little."""
    for work in world.peers[upstream].unfinished():
        work.progress()


def _until(world: World, holds: Callable[[], object]) -> None:
    """Let time pass until something holds. Raise TimeoutError if it does not come to hold."""
    end_s = world.loop.time() + MOST_S
    while not holds():
        if world.loop.time() > end_s:
            raise TimeoutError("what the scenario waits for does not happen")
        world.run(STEP_S)
