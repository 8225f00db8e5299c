"""The machine that Hypothesis drives: what callers, upstreams, messages, time and faults do to the service.

Each rule does one thing, and lets some time pass. After every step the invariants hold, and at the end `closing` checks
that everything has come to its end.
"""

from contextlib import ExitStack

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from shared.core.states import Status
from shared.telemetry import logs
from tests.model.clients import KINDS, STREAMED, Life
from tests.model.closing import close
from tests.model.peers import MOODS, Work
from tests.model.processes import FAULTS
from tests.model.world import HOOKED, MODELS, PROCESSES, World

PLACES = st.integers(0, PROCESSES - 1)
NUMBERS = st.integers(0, 7)
PAUSES = st.sampled_from([0.0, 0.005, 0.02, 0.1, 1.0, 3.0])
WAITS = st.sampled_from([1.0, 6.0, 16.0, 31.0, 65.0, 200.0])
ENDS = st.sampled_from([Status.COMPLETED, Status.FAILED, Status.INCOMPLETE])


class Service(RuleBasedStateMachine):
    """The service, and everything around it."""

    world: World

    @initialize(seed=st.integers(0, 2**20))
    def begin(self, seed: int) -> None:
        """Begin with three processes and empty storage."""
        self._open = ExitStack()
        self.world = World(seed)
        self._open.callback(self.world.close)
        self._open.enter_context(logs.received_by(self.world.note_line))

    def teardown(self) -> None:
        """Heal everything, and check that it ends."""
        if hasattr(self, "world"):
            with self._open:
                close(self.world)

    # Callers

    @rule(
        place=PLACES,
        model=st.sampled_from(sorted(MODELS.values())),
        kind=st.sampled_from(KINDS),
        has_callback=st.booleans(),
        pause_s=PAUSES,
    )
    def create(self, place: int, model: str, kind: str, has_callback: bool, pause_s: float) -> None:
        """A caller creates a response."""
        life = self.world.callers.new(model, kind, has_callback=has_callback)
        self.world.call(place, lambda process: self.world.callers.create(process, life))
        self.world.run(pause_s)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def create_again(self, place: int, number: int, pause_s: float) -> None:
        """A caller repeats a create with the same key."""
        life = self._life(number)
        self.world.call(place, lambda process: self.world.callers.create(process, life))
        self.world.run(pause_s)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, number=NUMBERS, wait_s=st.sampled_from([0.0, 10.0]), pause_s=PAUSES)
    def retrieve(self, place: int, number: int, wait_s: float, pause_s: float) -> None:
        """A caller reads a response."""
        life = self._life(number)
        self.world.call(place, lambda process: self.world.callers.retrieve(process, life, wait_s))
        self.world.run(pause_s)

    @precondition(lambda self: any(life.kind == STREAMED for life in self._lives))
    @rule(place=PLACES, number=NUMBERS, after=st.integers(-1, 6), pause_s=PAUSES)
    def resume(self, place: int, number: int, after: int, pause_s: float) -> None:
        """A caller resumes a stream."""
        streamed = [life for life in self._lives if life.kind == STREAMED]
        life = streamed[number % len(streamed)]
        self.world.call(place, lambda process: self.world.callers.resume(process, life, after))
        self.world.run(pause_s)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def cancel(self, place: int, number: int, pause_s: float) -> None:
        """A caller cancels a response."""
        life = self._life(number)
        self.world.call(place, lambda process: self.world.callers.cancel(process, life))
        self.world.run(pause_s)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def delete(self, place: int, number: int, pause_s: float) -> None:
        """A caller deletes a response."""
        life = self._life(number)
        self.world.call(place, lambda process: self.world.callers.delete(process, life))
        self.world.run(pause_s)

    @precondition(lambda self: any(life.has_callback for life in self._lives))
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def redeliver(self, place: int, number: int, pause_s: float) -> None:
        """A caller begins a delivery again."""
        life = self._life(number)
        self.world.call(place, lambda process: self.world.callers.redeliver(process, life))
        self.world.run(pause_s)

    # Upstreams and the receiver

    @precondition(lambda self: self._work)
    @rule(number=NUMBERS, times=st.integers(1, 3), pause_s=PAUSES)
    def progress(self, number: int, times: int, pause_s: float) -> None:
        """Work goes on, and tells events."""
        work = self._work[number % len(self._work)]
        for _ in range(times):
            work.progress()
        self.world.run(pause_s)

    @precondition(lambda self: self._work)
    @rule(place=PLACES, number=NUMBERS, status=ENDS, pause_s=PAUSES)
    def finish(self, place: int, number: int, status: Status, pause_s: float) -> None:
        """Work ends. One upstream announces that."""
        work = self._work[number % len(self._work)]
        work.end(status)
        if work in self.world.peers[HOOKED].works.values():
            self.world.announce(place, work)
        self.world.run(pause_s)

    @rule(name=st.sampled_from(sorted(MODELS)), mood=st.sampled_from(MOODS), times=st.integers(1, 3))
    def trouble(self, name: str, mood: str, times: int) -> None:
        """The next calls to an upstream meet trouble."""
        self.world.peers[name].moods.extend([mood] * times)

    @rule(status=st.sampled_from([0, 500, 503]), times=st.integers(1, 2))
    def refuse_callbacks(self, status: int, times: int) -> None:
        """The receiver answers so, or not at all."""
        if len(self.world.mailbox.moods) < 4:
            self.world.mailbox.moods.extend([status] * times)

    # Time, messages and processes

    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.world.run(seconds)

    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def sweep(self, place: int, number: int, pause_s: float) -> None:
        """A process sweeps the shard of a response, or any other."""
        shard = int(self._life(number).id[5], 16) if self._lives else number
        self.world.sweep(place, shard)
        self.world.run(pause_s)

    @rule()
    def lose_messages(self) -> None:
        """All messages are deleted."""
        for queue in self.world.queues.queues.values():
            queue.clear()

    @rule(place=PLACES, write=st.integers(1, 6), kind=st.sampled_from(FAULTS))
    def arm(self, place: int, write: int, kind: str) -> None:
        """Something happens at one of the next writes of a process."""
        self.world.process(place).fault = (write, kind)

    @rule(place=PLACES)
    def kill(self, place: int) -> None:
        """A process dies now."""
        self.world.process(place).kill()

    @rule(place=PLACES, seconds=WAITS)
    def freeze(self, place: int, seconds: float) -> None:
        """A process stands still for a while."""
        process = self.world.process(place)
        process.freeze()
        self.world.loop.call_later(seconds, process.thaw)

    @rule(seconds=st.sampled_from([1.0, 8.0, 40.0]), pause_s=PAUSES)
    def storage_is_away(self, seconds: float, pause_s: float) -> None:
        """Storage does not answer for a while."""
        self.world.away_until_s = self.world.loop.time() + seconds
        self.world.run(pause_s)

    # Choices

    @property
    def _lives(self) -> list[Life]:
        return list(self.world.callers.lives.values()) if hasattr(self, "world") else []

    def _life(self, number: int) -> Life:
        return self._lives[-1 - number % len(self._lives)]

    @property
    def _work(self) -> list[Work]:
        peers = self.world.peers.values() if hasattr(self, "world") else ()
        return [work for peer in peers for work in peer.unfinished()]
