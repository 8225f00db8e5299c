"""What a run needs to know of a system that it measures: the service of one build, or a peer."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Protocol

from local.credentials.keys import Credentials
from local.host import counting
from local.stack.stack import START_DEADLINE_S, Stack


@dataclass(frozen=True)
class Target:
    """A running system that accepts a request, starts it at the model, polls it, and calls back.

    `create_url` takes the body of a create call. The field `id_field` of its answer is the id that the system sends to
    the model as the idempotency key. `signs` says that its callbacks are signed with the receiver's secret.
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


class Contender(Protocol):
    """A system that can be measured. Each use starts it anew, with nothing stored."""

    @property
    def name(self) -> str:
        """The name in tables and plots."""

    @property
    def about(self) -> str:
        """The version, and what it runs on."""

    def open(self) -> AbstractContextManager[Target]:
        """Run it until the end of the block. Raise PartError if it cannot run here."""


def of_stack(stack: Stack, caller: Credentials | None = None) -> Target:
    """Return the service of a running stack as a target of a caller, or of the stack's own one."""
    return Target(
        create_url=f"{stack.base_url}/responses",
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
    )
