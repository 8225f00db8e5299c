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
from tests.model.world import HOOKED, MODELS, World

PLACES = st.integers(0, 2)
PEER_OF = {model: name for name, model in MODELS.items()}
NUMBERS = st.integers(0, 7)
PAUSES = st.sampled_from([0.0, 0.005, 0.02, 0.1, 1.0, 3.0])
WAITS = st.sampled_from([1.0, 6.0, 16.0, 31.0, 65.0, 200.0])
ENDS = st.sampled_from([Status.COMPLETED, Status.FAILED, Status.INCOMPLETE])


class Service(RuleBasedStateMachine):
    """The service, and everything around it."""

    world: World
    runs = 0  # so far, in this process

    @initialize(seed=st.integers(0, 2**20))
    def begin(self, seed: int) -> None:
        """Begin with three processes and empty storage."""
        Service.runs += 1
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
        mood=st.sampled_from(["", "", *MOODS]),
        pause_s=PAUSES,
    )
    def create(self, place: int, model: str, kind: str, has_callback: bool, mood: str, pause_s: float) -> None:
        """Let a caller create a response, whose upstream may be in trouble."""
        life = self.world.callers.new(model, kind, has_callback=has_callback)
        if mood:
            self.world.peers[PEER_OF[model]].moods.append(mood)
        self.world.call(place, lambda process: self.world.callers.create(process, life))
        self.world.run(pause_s)

    @precondition(lambda self: any(not life.is_deleted for life in self._lives))
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def create_again(self, place: int, number: int, pause_s: float) -> None:
        """Let a caller repeat a create with the same key."""
        kept = [life for life in self._lives if not life.is_deleted]
        life = kept[number % len(kept)]
        self.world.call(place, lambda process: self.world.callers.create(process, life))
        self.world.run(pause_s)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, number=NUMBERS, wait_s=st.sampled_from([0.0, 10.0]), pause_s=PAUSES)
    def retrieve(self, place: int, number: int, wait_s: float, pause_s: float) -> None:
        """Let a caller read a response."""
        life = self._life(number)
        self.world.call(place, lambda process: self.world.callers.retrieve(process, life, wait_s))
        self.world.run(pause_s)

    @precondition(lambda self: any(life.kind == STREAMED for life in self._lives))
    @rule(place=PLACES, number=NUMBERS, after=st.integers(-1, 6), pause_s=PAUSES)
    def resume(self, place: int, number: int, after: int, pause_s: float) -> None:
        """Let a caller resume a stream."""
        streamed = [life for life in self._lives if life.kind == STREAMED]
        life = streamed[number % len(streamed)]
        self.world.call(place, lambda process: self.world.callers.resume(process, life, after))
        self.world.run(pause_s)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def cancel(self, place: int, number: int, pause_s: float) -> None:
        """Let a caller cancel a response."""
        life = self._life(number)
        self.world.call(place, lambda process: self.world.callers.cancel(process, life))
        self.world.run(pause_s)

    @precondition(lambda self: any(not life.creating for life in self._lives))
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def delete(self, place: int, number: int, pause_s: float) -> None:
        """Let a caller delete a response that no other one is just creating."""
        created = [life for life in self._lives if not life.creating]
        life = created[number % len(created)]
        self.world.call(place, lambda process: self.world.callers.delete(process, life))
        self.world.run(pause_s)

    @precondition(lambda self: any(life.has_callback for life in self._lives))
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def redeliver(self, place: int, number: int, pause_s: float) -> None:
        """Let a caller begin a delivery again."""
        life = self._life(number)
        self.world.call(place, lambda process: self.world.callers.redeliver(process, life))
        self.world.run(pause_s)

    # Upstreams and the receiver

    @precondition(lambda self: self._work)
    @rule(number=NUMBERS, times=st.integers(1, 3), pause_s=PAUSES)
    def progress(self, number: int, times: int, pause_s: float) -> None:
        """Let work go on, and tell events."""
        work = self._work[number % len(self._work)]
        for _ in range(times):
            work.progress()
        self.world.run(pause_s)

    @precondition(lambda self: self._work)
    @rule(place=PLACES, number=NUMBERS, status=ENDS, pause_s=PAUSES)
    def finish(self, place: int, number: int, status: Status, pause_s: float) -> None:
        """Let work end. One upstream announces that."""
        work = self._work[number % len(self._work)]
        work.end(status)
        if work in self.world.peers[HOOKED].works.values():
            self.world.announce(place, work)
        self.world.run(pause_s)

    @precondition(lambda self: self._lives)
    @rule(name=st.sampled_from(sorted(MODELS)), mood=st.sampled_from(MOODS), times=st.integers(1, 3))
    def trouble(self, name: str, mood: str, times: int) -> None:
        """Let the next calls to an upstream meet trouble."""
        self.world.peers[name].moods.extend([mood] * times)

    @precondition(lambda self: self._lives)
    @rule(status=st.sampled_from([0, 500, 503]), times=st.integers(1, 2))
    def refuse_callbacks(self, status: int, times: int) -> None:
        """Let the receiver answer so, or not at all."""
        if len(self.world.mailbox.moods) < 4:
            self.world.mailbox.moods.extend([status] * times)

    # Time, messages and processes

    @precondition(lambda self: self._lives)
    @rule(seconds=WAITS)
    def wait(self, seconds: float) -> None:
        """Let time pass."""
        self.world.run(seconds)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, number=NUMBERS, pause_s=PAUSES)
    def sweep(self, place: int, number: int, pause_s: float) -> None:
        """Let a process sweep the shard of a response."""
        self.world.sweep(place, int(self._life(number).id[5], 16))
        self.world.run(pause_s)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, write=st.integers(1, 6), kind=st.sampled_from(FAULTS))
    def arm(self, place: int, write: int, kind: str) -> None:
        """Let something happen at one of the next writes of a process."""
        self.world.process(place).fault = (write, kind)

    @precondition(lambda self: self._lives)
    @rule(place=PLACES, seconds=st.sampled_from([0.0, 0.0, 6.0, 16.0, 40.0, 70.0, 200.0]))
    def fail(self, place: int, seconds: float) -> None:
        """Let a process die now, or stand still for some seconds."""
        process = self.world.process(place)
        if not seconds:
            process.kill()
            return
        process.freeze()
        self.world.loop.call_later(seconds, process.thaw)

    @precondition(lambda self: self._lives)
    @rule(seconds=st.sampled_from([0.0, 1.0, 8.0, 40.0]), pause_s=PAUSES)
    def lose_storage(self, seconds: float, pause_s: float) -> None:
        """Delete all messages, and let storage be silent for some seconds."""
        for queue in self.world.queues.queues.values():
            queue.clear()
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
