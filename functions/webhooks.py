"""Webhooks of the upstream, by which it announces that one of its responses has ended."""

from azurefunctions.extensions.http.fastapi import Request, Response

from functions.answers import as_json, read_json
from shared.bootstrap import service
from shared.contract.requests import MAX_WEBHOOK
from shared.engine import Engine

WITHIN_S = 5.0  # for the body. Its sender needs no key, and holds one of the instance's places meanwhile


async def receive(req: Request) -> Response:
    """POST /webhooks/upstream. The upstream announces that one of its responses has ended."""
    return await received((await service()).engine, req)


async def received(engine: Engine, req: Request) -> Response:
    """Read a webhook that an engine expects, within 5 s, and act on it."""
    engine.expect_webhook(req.headers)
    await engine.receive_webhook(req.headers, await read_json(req, most=MAX_WEBHOOK, within_s=WITHIN_S))
    return as_json({"received": True})
