"""Faults of storage: which errors become StoreUnavailable, which pass, and what the deadline does."""

import asyncio
import itertools

import pytest
from azure.core.exceptions import (
    AzureError,
    ClientAuthenticationError,
    HttpResponseError,
    ResourceExistsError,
    ResourceModifiedError,
    ResourceNotFoundError,
    ServiceRequestError,
    ServiceResponseError,
)
from azure.data.tables import TableTransactionError

from shared.core.errors import Conflict, StoreUnavailable
from shared.storage.faults import reaching

AMPLE_S = 10.0
FAULTS = [
    AzureError("x"),
    ClientAuthenticationError("x"),
    HttpResponseError("x"),
    ResourceModifiedError("x"),
    ServiceRequestError("x"),
    ServiceResponseError("x"),
    TableTransactionError(message="x"),
    TimeoutError("x"),
]


async def test_a_block_that_succeeds_is_left_alone() -> None:
    """A call that returns before its deadline has its result."""
    async with reaching(AMPLE_S):
        await asyncio.sleep(0)
        result = "found"
    assert result == "found"


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: type(fault).__name__)
async def test_every_fault_is_store_unavailable(fault: Exception) -> None:
    """Callers handle one error. The library's own error is its cause, for the log."""
    with pytest.raises(StoreUnavailable) as raised:
        async with reaching(AMPLE_S):
            raise fault
    assert raised.value.__cause__ is fault


@pytest.mark.parametrize("answer", [ResourceNotFoundError("x"), ResourceExistsError("x")])
async def test_not_found_and_exists_already_are_answers(answer: Exception) -> None:
    """They pass unchanged, although the library has them below the faults."""
    assert isinstance(answer, AzureError)
    with pytest.raises(type(answer)) as raised:
        async with reaching(AMPLE_S):
            raise answer
    assert raised.value is answer


@pytest.mark.parametrize("error", [Conflict(), StoreUnavailable(), ValueError("x"), KeyError("x")])
async def test_other_errors_pass(error: Exception) -> None:
    """An error that is not the library's is not a fault of storage. It would be hidden as one."""
    with pytest.raises(type(error)) as raised:
        async with reaching(AMPLE_S):
            raise error
    assert raised.value is error


async def test_a_call_without_an_answer_ends_at_its_deadline() -> None:
    """The call is cancelled, and its caller gets the same error as for any other fault."""
    unanswered = asyncio.get_running_loop().create_future()
    with pytest.raises(StoreUnavailable):
        async with asyncio.timeout(AMPLE_S), reaching(0.01):
            await unanswered
    assert unanswered.cancelled()


async def test_the_deadline_is_for_the_block_as_a_whole() -> None:
    """Several calls in a block share its deadline, even if each of them answers quickly."""

    async def calls() -> None:
        async with asyncio.timeout(AMPLE_S), reaching(0.01):
            for _ in itertools.count():
                await asyncio.sleep(0)

    with pytest.raises(StoreUnavailable):
        await calls()


async def test_a_cancellation_is_not_a_fault() -> None:
    """A task that is cancelled in the block ends as cancelled, so a shutdown is not taken for an outage."""
    entered = asyncio.Event()

    async def call() -> None:
        async with reaching(AMPLE_S):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(call())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
