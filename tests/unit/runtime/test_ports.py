"""The ports: the senders fit one protocol, and what a process keeps belongs to one Ports object."""

import inspect
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any

import pytest
from azure.storage.queue.aio import QueueServiceClient

from shared.bootstrap import build_ports
from shared.core.outcomes import Answer, SendError
from shared.core.records import Target
from shared.runtime.config import Config, Limits
from shared.runtime.ports import Ports, Sender
from shared.senders.admission import Admission
from shared.senders.callbacks import CallbackSender
from shared.senders.reply_queues import ReplySender
from shared.settings import load_settings
from tests.support.fakes.peers import ScriptedReceiver
from tests.unit.test_settings import LEAST

CLOSED = "http://127.0.0.1:9"  # a loopback port on which no server listens
ACCOUNT = f"AccountName=a;AccountKey=c2VjcmV0;DefaultEndpointsProtocol=http;QueueEndpoint={CLOSED}/a"
URL = "https://192.0.2.1/cb"  # an address of the documentation, to which nothing is sent


def callbacks() -> Sender:
    """Return the sender of callbacks."""
    return CallbackSender()


def reply_queues() -> Sender:
    """Return the sender of messages, for a storage account that does not answer."""
    return ReplySender(QueueServiceClient.from_connection_string(ACCOUNT, retry_total=0))


def scripted() -> Sender:
    """Return the sender of the tests, whose receivers never answer."""
    return ScriptedReceiver(SendError.CONNECT)


SENDERS: dict[Callable[[], Sender], str] = {callbacks: URL, reply_queues: "replies", scripted: URL}
METHODS = [name for name, value in vars(Sender).items() if not name.startswith("_") and callable(value)]
every_sender = pytest.mark.parametrize("make", SENDERS, ids=lambda make: make.__name__)


@pytest.fixture
async def clean_up() -> AsyncIterator[AsyncExitStack]:
    """Yield a stack that closes what a test has made."""
    async with AsyncExitStack() as stack:
        yield stack


async def ports(clean_up: AsyncExitStack) -> Ports:
    """Return the ports of a deployment. Nothing is connected before it is used."""
    made = build_ports(load_settings(LEAST))
    closable: list[Any] = [*made.senders.values(), made.store, made.wakeups, made.upstreams]
    for part in closable:
        clean_up.push_async_callback(part.aclose)
    return made


# Senders


@every_sender
@pytest.mark.parametrize("method", METHODS)
def test_a_sender_takes_the_arguments_of_the_protocol(make: Callable[[], Sender], method: str) -> None:
    """Every method has the protocol's parameters, in the same order and by the same kinds, and is async where it is."""

    def form(of: object) -> tuple[list[tuple[str, Any]], bool]:
        function = inspect.unwrap(getattr(of, method))
        given = [(one.name.lstrip("_"), one.kind) for one in inspect.signature(function).parameters.values()]
        return [one for one in given if one[0] != "self"], inspect.iscoroutinefunction(function)

    actual, expected = form(type(make())), form(Sender)
    assert [kind for _, kind in actual[0]] == [kind for _, kind in expected[0]]
    assert [name for name, kind in actual[0] if kind is inspect.Parameter.KEYWORD_ONLY] == [
        name for name, kind in expected[0] if kind is inspect.Parameter.KEYWORD_ONLY
    ]
    assert actual[1] is expected[1]


@every_sender
@pytest.mark.parametrize("first", [True, False])
async def test_an_admission_is_held_while_a_block_runs(make: Callable[[], Sender], first: bool) -> None:
    """A sender with capacity admits an attempt, whose answer is not known yet."""
    sender = make()
    async with sender.admit(SENDERS[make], "ann", first=first, patience_s=0) as admission:
        assert isinstance(admission, Admission)
        assert admission.answer is None
    await sender.aclose()


@every_sender
async def test_an_address_that_may_work_passes(make: Callable[[], Sender]) -> None:
    """Whether a receiver answers is not known before an attempt, so it is not a reason to refuse its address."""
    sender = make()
    address = "https://93.184.216.34/cb" if make is callbacks else SENDERS[make]
    await sender.vet(address)
    await sender.aclose()


@every_sender
async def test_a_fault_is_an_answer(make: Callable[[], Sender]) -> None:
    """A target that cannot be reached gives an answer with an error and no status. No exception leaves a sender."""
    sender = make()
    answer = await sender.post(SENDERS[make], {"webhook-id": "wh_1"}, b"{}", hosts=())
    assert isinstance(answer, Answer)
    assert (answer.status, answer.retry_after) == (None, None)
    assert answer.error is (SendError.ADDRESS_REFUSED if make is callbacks else SendError.CONNECT)
    assert answer.duration_ms >= 0
    await sender.aclose()


# Ports


async def test_every_target_has_a_sender(clean_up: AsyncExitStack) -> None:
    """A delivery to any target finds the sender of its kind."""
    senders = (await ports(clean_up)).senders
    assert {target: type(sender) for target, sender in senders.items()} == {
        Target.CALLBACK: CallbackSender,
        Target.REPLY_QUEUE: ReplySender,
    }
    assert senders.keys() == set(Target)


async def test_two_processes_share_nothing_that_changes(clean_up: AsyncExitStack) -> None:
    """Polls, tasks and marks of one Ports object are unknown to another one, as in two processes."""
    first, second = await ports(clean_up), await ports(clean_up)

    async def poll() -> Any:
        return None

    await first.polls.call("resp_1", poll)
    task = first.background.start(first.clock.sleep(0))
    with first.noting.mark(("resp_1", "callback")):
        assert ("resp_1", "callback") not in second.noting
    assert (len(first.polls), len(second.polls)) == (1, 0)
    assert (first.background.tasks, second.background.tasks) == ((task,), ())
    await task


async def test_a_changed_copy_keeps_what_the_process_keeps(clean_up: AsyncExitStack) -> None:
    """A copy with another configuration still shares polls, tasks and marks with the original."""
    before = await ports(clean_up)
    after = replace(before, config=Config(limits=Limits(deadline_ms=1)))
    assert after.config != before.config
    for name in ("polls", "background", "noting", "notes", "store", "clock"):
        assert getattr(after, name) is getattr(before, name), name
