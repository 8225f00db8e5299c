"""Requests of many small values: whatever is done with them, the event loop serves others meanwhile."""

import time

import pytest

from shared.contract.pages import parse_page
from shared.contract.requests import parse_request
from shared.foreground.clients import client_of
from tests.support.stage import ANN, Stage

TOOL = b'{"type":"function","name":"f"}'
MANY = {"strings": b'"input":"q","x":[%b]' % b",".join([b'"aaa"'] * 990_000)}
MANY["tools"] = b'"input":"q","tools":[%b]' % b",".join([TOOL] * 49_000)
MANY["items"] = b'"input":[%b]' % b",".join([b'{"role":"user","content":[%b]}' % b",".join([TOOL] * 8)] * 9_900)


@pytest.mark.parametrize("name", MANY)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_request_of_a_million_values_does_not_hold_the_loop(stage: Stage, name: str, stream: bool) -> None:
    """Looking for credentials in it once takes half a second, and much is done with it. All of that is in a thread."""
    raw = b'{"model":"m","background":true,"stream":%b,%b}' % (b"true" if stream else b"false", MANY[name])
    new, began_s = parse_request(raw), time.thread_time()
    if stream:
        chunks = await stage.engine.create_stream(ANN, new, None, client_of({}))
        assert [chunk async for chunk in chunks]
    else:
        record, _ = await stage.engine.create(ANN, new, None, 0)
        await stage.engine.retrieve(ANN, record.id, 0, ())
        await stage.engine.input_items(ANN, record.id, parse_page({"limit": "100"}))
        await stage.finish(record.id)
        await stage.engine.retrieve(ANN, record.id, 0, ())
    assert time.thread_time() - began_s < 0.5


async def test_a_large_request_with_a_credential_is_masked_as_a_small_one(stage: Stage) -> None:
    """It is looked through in a thread, and nothing of it is shown."""
    secret = '"server_url":"https://s.example","headers":{"x-api-key":"secret-of-the-tool"}'
    tools = ",".join([f'{{"type":"mcp","server_label":"a","name":"{"n" * 100}",{secret}}}'] * 3_000)
    new = parse_request(f'{{"model":"m","background":true,"input":"q","tools":[{tools}]}}'.encode())
    record, shown = await stage.engine.create(ANN, new, None, 0)
    assert record.request.has_credentials
    await stage.finish(record.id)
    later = (await stage.engine.retrieve(ANN, record.id, 0, ()))[1]
    assert b"secret-of-the-tool" not in shown + later
    assert shown.count(b"***") == later.count(b"***") == 3_000
