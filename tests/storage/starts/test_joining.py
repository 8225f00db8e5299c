"""A repeat that waits for the start of the first request. Whole repeats are in test_submission_idempotency."""

import pytest

from shared.core.errors import BadRequest
from shared.core.ids import new_id
from shared.starts.joining import join
from tests.support.stage import ANN, Stage


async def test_a_first_request_that_was_withdrawn_is_not_joined(stage: Stage) -> None:
    """Then the repeat may be the first."""
    assert await join(stage.ports, new_id()) is None


async def test_a_start_that_takes_too_long_is_promised(stage: Stage) -> None:
    """The repeat is answered with the id, so the rows must stay."""
    stage.limit(start_wait_s=0)
    gate = stage.upstream.hold_starts()
    creating = stage.ports.background.start(_created(stage), lambda _: None)
    await gate.reached.wait()
    (response_id,) = stage.upstream.starts
    joined = await join(stage.ports, response_id)
    assert joined
    assert joined.acknowledged
    gate.open()
    await creating


async def _created(stage: Stage) -> None:
    await stage.create()


async def test_a_deleted_response_is_not_made_again(stage: Stage) -> None:
    """The error names the header."""
    record = await stage.ended()
    await stage.engine.delete(ANN, record.id)
    with pytest.raises(BadRequest) as refused:
        await join(stage.ports, record.id)
    assert refused.value.param == "Idempotency-Key"
