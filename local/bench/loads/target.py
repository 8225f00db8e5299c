"""What a run needs to know of a system that it measures: the service of one build, or a peer."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from local.credentials.keys import Credentials
from local.host import counting
from local.stack.process import PartError
from local.stack.stack import START_DEADLINE_S, Stack


@dataclass(frozen=True)
class Upstream:
    """The model of a run, as a system is told of it before it starts.

    `held_s` is how long it keeps the answer of each create call back. `honours_keys` says that it starts nothing new
    for a create call whose idempotency key it knows.
    """

    held_s: float = 0.0
    honours_keys: bool = True

    @property
    def faults(self) -> dict[str, object]:
        """The switches of the simulated model that make it so."""
        return {"create_latency_s": self.held_s, "ignore_idempotency": not self.honours_keys}


PROMPT = Upstream()


@dataclass(frozen=True)
class Streams:
    """Where a system streams a response. `create_url` takes the body of a create call, and answers with JSON or events.

    `resume` returns the address of the events above a number, of the response with an id.
    """

    create_url: str
    resume: Callable[[str, int], str] = field(repr=False)


@dataclass(frozen=True)
class Target:
    """A running system that accepts a request, starts it at the model, polls it, and calls back.

    `create_url` takes the body of a create call. The field `id_field` of its answer is the id that the system sends to
    the model as the idempotency key. `signs` says that its callbacks are signed with the receiver's secret. `streams`
    is None if the system has no streams that can be resumed.
    """

    create_url: str
    headers: Mapping[str, str] = field(repr=False)
    receiver_url: str
    model_url: str
    signs: bool
    app_pids: Callable[[], Sequence[int]]
    store_cpu_s: Callable[[], float]
    check: Callable[[], None]
    kill: Callable[[], object]
    restart: Callable[[], None]
    invocations_url: str | None = None
    id_field: str = "id"
    streams: Streams | None = None


class LacksError(PartError):
    """A system has nothing that could answer the question. The text says what it lacks."""


class Contender(Protocol):
    """A system that can be measured. Each use starts it anew, with nothing stored."""

    @property
    def name(self) -> str:
        """The name in tables and plots."""

    @property
    def about(self) -> str:
        """The version, and what it runs on."""

    @property
    def configured(self) -> str:
        """How it is configured, in a sentence or more, or an empty text."""

    @property
    def retry_waits_s(self) -> Sequence[float]:
        """How long it waits after each failed attempt to call back, in seconds and without jitter. Then it gives up.

        It is empty if it is not known.
        """

    def open(self, upstream: Upstream = PROMPT) -> AbstractContextManager[Target]:
        """Run it until the end of the block. Raise PartError if it cannot run here."""


def of_stack(stack: Stack, caller: Credentials | None = None) -> Target:
    """Return the service of a running stack as a target of a caller, or of the stack's own one."""
    responses = f"{stack.base_url}/responses"
    return Target(
        create_url=responses,
        headers={"Authorization": f"Bearer {(caller or stack.credentials).api_key}"},
        receiver_url=stack.receiver_url,
        model_url=stack.parts["model"].url(START_DEADLINE_S).removesuffix("/v1"),
        signs=True,
        app_pids=lambda: [stack.parts["host"].pid],
        store_cpu_s=stack.storage.cpu_s,
        check=stack.check,
        kill=stack.kill_host,
        restart=stack.start_host,
        invocations_url=f"{stack.host_url}{counting.PATH}",
        streams=Streams(responses, lambda name, after: f"{responses}/{name}?stream=true&starting_after={after}"),
    )
