"""The address at which the benchmark asks for the number of invocations."""

import httpx
from starlette.responses import PlainTextResponse

from local.host.counting import PATH, Counting


async def test_invocations_are_answered_and_everything_else_is_passed_on() -> None:
    """Only the one address is taken from the app."""
    app = Counting(PlainTextResponse("the app"), {"httpTrigger": 2})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://host") as http:
        assert (await http.get(PATH)).json() == {"httpTrigger": 2}
        assert (await http.get("/other")).text == "the app"
