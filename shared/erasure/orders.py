"""What an order to erase asks for, and its receipt. Pure."""

from collections.abc import Mapping
from typing import TypedDict

from shared.contract import parameters
from shared.core.erasures import SUBJECTS, Erasure, Wanted, subject_tag
from shared.core.errors import BadRequest

PREFIX = "erasure_"
LONGEST = 512


class Receipt(TypedDict):
    """An erasure as callers read it. Times are unix seconds."""

    id: str
    object: str  # "erasure"
    status: str  # "in_progress" or "completed"
    caller: str
    created_at: int
    completed_at: int | None
    before: int | None
    by: list[str]  # the fields of a person's id that were given. Their values are not kept.
    cancelled: int
    deleted: int
    failed: int  # responses that could not be read, and may be left


def parse_order(query: Mapping[str, str], caller: str, *, whole_caller: bool = False) -> Wanted:
    """Return which responses of a caller are erased, from the query of `DELETE /responses`.

    It has `before`, `user` or `safety_identifier`, or more of them. Only with `whole_caller` it may have none. Raises
    BadRequest, which names the parameter that is wrong.
    """
    given = {name: _subject(name, query[name]) for name in SUBJECTS if name in query}
    before_ms = parameters.parse_moment("before", query["before"]) if "before" in query else None
    if not given and before_ms is None and not whole_caller:
        raise BadRequest(
            "Say which responses: 'before', 'user' or 'safety_identifier'.", param="before", code="missing_required"
        )
    tags = {name: subject_tag(caller, name, value) for name, value in given.items()}
    return Wanted(before_ms, **tags)


def _subject(name: str, value: str) -> str:
    if not 0 < len(value) <= LONGEST:
        raise BadRequest(f"'{name}' must have 1 to {LONGEST} characters.", param=name, code="invalid_value")
    return value


def receipt(erasure: Erasure) -> Receipt:
    """Return the receipt of an erasure."""
    return {
        "id": PREFIX + erasure.id.removeprefix("resp_"),
        "object": "erasure",
        "status": "completed" if erasure.ended_ms else "in_progress",
        "caller": erasure.caller,
        "created_at": erasure.created_ms // 1000,
        "completed_at": erasure.ended_ms // 1000 or None,
        "before": None if erasure.wanted.before_ms is None else erasure.wanted.before_ms // 1000,
        "by": [name for name in SUBJECTS if getattr(erasure.wanted, name)],
        "cancelled": erasure.cancelled,
        "deleted": erasure.deleted,
        "failed": erasure.failed,
    }
