"""What operators, probes and the upstream may call."""

from functions import operators
from shared.openapi.operator_operations import OPERATOR, PUBLIC
from tests.support.described_api import operation_named


def test_only_operators_may_call_what_is_theirs() -> None:
    """All of their operations and no other ones refuse a caller without the role."""
    assert {one.name for one in OPERATOR} == {name for name, *_ in operators.ROUTES}
    for one in OPERATOR:
        assert "operator_required" in str(one.shown()["responses"]["403"])


def test_anybody_may_call_what_is_public() -> None:
    """Without a key. The upstream's webhook is signed instead."""
    for one in PUBLIC:
        assert operation_named(one.name)["security"] == []
    assert {one.name for one in PUBLIC if "401" in one.shown()["responses"]} == {"receive_webhook"}


def test_storage_is_only_in_the_answers_of_what_asks_it() -> None:
    """A process says from memory that it lives, and how it has last seen the upstreams."""
    assert {one.name for one in PUBLIC if any(fault.code == "storage" for fault in one.all_faults)} == {
        *("health_ready", "receive_webhook")
    }
