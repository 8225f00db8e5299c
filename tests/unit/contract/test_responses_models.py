"""The model of a response object: callers see the name that they have given, if their upstream has another one."""

from dataclasses import replace

import pytest

from shared.contract.responses import present
from shared.core.records import Record, RequestInfo, UpstreamInfo
from shared.core.states import Status

RECORD = Record(f"resp_{'a' * 32}", "ann", 0, 0, request=RequestInfo(model="fast"))
RENAMED = replace(RECORD, upstream=UpstreamInfo(name="eu", model="prod-5"))


@pytest.mark.parametrize(
    ("record", "said", "shown"),
    [
        (RENAMED, "prod-5", "fast"),
        (RENAMED, "gpt-5-2026-08-07", "gpt-5-2026-08-07"),
        (RENAMED, None, "fast"),
        (RECORD, "prod-5", "prod-5"),
    ],
)
def test_an_upstreams_own_name_is_not_shown(record: Record, said: str | None, shown: str) -> None:
    """It stands only where the upstream repeats it. What says more, such as a version, stays."""
    answer = {} if said is None else {"model": said}
    assert present(record, Status.QUEUED, answer, {"model": "fast"}, 0)["model"] == shown
