"""One run of the model as a list of what storage was asked to do, to compare runs."""

import contextlib
from collections.abc import Mapping
from random import Random

from tests.model.clients import KINDS
from tests.model.closing import close
from tests.model.peers import MOODS
from tests.model.processes import FAULTS
from tests.model.silence import Nowhere
from tests.model.world import MODELS, World
from tests.support.fakes.table_service import Row

_LIVES = 8


def trace(seed: int) -> list[str]:
    """Make a run with random responses and faults, and return the time and the row keys of each transaction."""
    chance, world, written = Random(seed), World(seed), list[str]()

    def note(partition: str, before: Mapping[str, Row | None]) -> None:
        written.append(f"{world.loop.time():.6f} {partition} {sorted(before)}")

    world.tables.listeners.append(note)
    with contextlib.redirect_stdout(Nowhere()), contextlib.closing(world):
        for number in range(_LIVES):
            world.peers[chance.choice(sorted(MODELS))].moods.append(chance.choice(MOODS))
            world.process(number).fault = (chance.randint(1, 6), chance.choice(FAULTS))
            model, kind = chance.choice(sorted(MODELS.values())), chance.choice(KINDS)
            life = world.callers.new(model, kind, has_callback=chance.random() < 0.5)
            world.call(number, lambda process, life=life: world.callers.create(process, life))
            world.run(chance.choice([0.0, 0.05, 3.0]))
        close(world)
    return written
