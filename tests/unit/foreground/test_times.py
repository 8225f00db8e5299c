"""When a foreground call gets its first byte and its blanks."""

import pytest

from shared.contract.callers import Caller
from shared.foreground.clients import Client
from shared.foreground.times import times_of
from shared.runtime.config import Pace

DOTNET = Client(bounds_body=True)
HELD = Client().of(Caller("ann", (), (), hold_s=30.0))
AGAIN = Client(retry_count=1)


@pytest.mark.parametrize(
    ("client", "joins", "begin_s", "pauses"),
    [
        (Client(), False, 15, [15, 15, 15]),
        (Client(retry_count=0), False, 15, [15, 15, 15]),
        (AGAIN, False, 15, [15, 15, 15]),
        (AGAIN, True, 0, [2, 2, 15]),
        (Client(), True, 0, [2, 2, 15]),
        (DOTNET, False, 85, [15, 15, 15]),
        (DOTNET, True, 85, [15, 15, 15]),
        (HELD, False, 30, [15, 15, 15]),
    ],
)
def test_each_kind_of_client_gets_bytes_in_time(
    client: Client, joins: bool, begin_s: float, pauses: list[float]
) -> None:
    """A repeat that joins has shown how long its client waits: 15 s of blanks every 2 s follow at once.

    A client that bounds the whole body gets nothing for as long as possible.
    """
    times = times_of(Pace(), client, joins=joins)
    assert times.begin_s == begin_s
    assert [times.pause_s(since_s) for since_s in (0, 14, 15)] == pauses


@pytest.mark.parametrize("client", [Client(), AGAIN, DOTNET])
def test_no_pause_is_longer_than_the_setting(client: Client) -> None:
    """Something in front of the service may cut silent connections."""
    times = times_of(Pace(bounded_begin_s=1), client, joins=client is AGAIN)
    assert times.begin_s <= 1
    assert max(times.pause_s(since_s) for since_s in (0, 20)) <= 1
