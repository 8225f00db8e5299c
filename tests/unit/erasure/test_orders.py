"""Orders to erase: what is asked for, what is refused by name, and the receipt."""

import pytest

from shared.core.erasures import Erasure, Phase, Wanted, subject_tag
from shared.core.errors import BadRequest
from shared.erasure.orders import parse_order, receipt

ID = "resp_0123456789abcdef0123456789abcdef"


def test_an_order_names_a_time_or_a_person() -> None:
    """Of a person's id only a hash is kept."""
    assert parse_order({"before": "5"}, "ann") == Wanted(5_000)
    wanted = parse_order({"user": "anna", "safety_identifier": "s", "before": "1970-01-01T00:00:05Z"}, "ann")
    expected = Wanted(5_000, subject_tag("ann", "user", "anna"), subject_tag("ann", "safety_identifier", "s"))
    assert wanted == expected
    assert "anna" not in repr(wanted)


@pytest.mark.parametrize(
    ("query", "param", "code"),
    [
        ({}, "before", "missing_required"),
        ({"after": "5"}, "before", "missing_required"),
        ({"before": "soon"}, "before", "invalid_value"),
        ({"before": ""}, "before", "invalid_value"),
        ({"user": ""}, "user", "invalid_value"),
        ({"safety_identifier": "x" * 513}, "safety_identifier", "invalid_value"),
    ],
)
def test_a_wrong_order_is_refused(query: dict[str, str], param: str, code: str) -> None:
    """One that says nothing would erase everything."""
    with pytest.raises(BadRequest) as refused:
        parse_order(query, "ann")
    assert (refused.value.param, refused.value.code) == (param, code)


def test_a_whole_caller_is_erased_only_where_that_is_allowed() -> None:
    """An operator names the caller, and needs no other parameter."""
    assert parse_order({}, "ann", whole_caller=True) == Wanted()


def test_a_receipt_says_how_far_the_erasure_is() -> None:
    """It names the fields that were given, and no value."""
    wanted = Wanted(7_900, user="tag")
    running = Erasure(ID, "ann", "ops", 5_000, wanted, 3, Phase.ENDED, "key", cancelled=1, deleted=4)
    expected = {
        "id": f"erasure_{ID[5:]}",
        "object": "erasure",
        "status": "in_progress",
        "caller": "ann",
        "created_at": 5,
        "completed_at": None,
        "before": 7,
        "by": ["user"],
        "cancelled": 1,
        "deleted": 4,
        "failed": 0,
    }
    assert receipt(running) == expected
    done = receipt(Erasure(ID, "ann", "ann", 5_000, ended_ms=9_000))
    assert (done["status"], done["completed_at"], done["before"], done["by"]) == ("completed", 9, None, [])
