"""Which responses a caller has. Conversations are in tests/storage/relayed."""

import pytest

from shared.core.errors import NotFound
from shared.core.ids import new_id, token_for
from shared.lifecycle.ownership import own
from tests.support.stage import ANN, BOB, Stage


async def test_a_response_is_found_by_its_id_or_a_token(stage: Stage) -> None:
    """By its caller."""
    made = await stage.create()
    assert (await own(stage.ports, ANN, made.id)).id == made.id
    assert (await own(stage.ports, ANN, token_for(made.id, 3))).id == made.id


async def test_what_is_not_there_looks_like_what_belongs_to_others(stage: Stage) -> None:
    """The error is the same for a response of another caller, a deleted one, an unknown one, and no id at all."""
    made, gone = await stage.create(), await stage.ended()
    await stage.engine.delete(ANN, gone.id)
    for caller, named in ((BOB, made.id), (ANN, gone.id), (ANN, new_id()), (ANN, "resp_?")):
        with pytest.raises(NotFound) as missing:
            await own(stage.ports, caller, named)
        assert missing.value.message == f"Response with id '{named}' not found."
