"""Signatures that other projects have published, and one of the verifiers that our receivers use."""

import json
from typing import NamedTuple

from openai import OpenAI

NEW = "whsec_RdvaYFYUXuIFuEbvZHwMfYFhUf7aMYjYcmM24+Aj40c="
OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
STRANGE = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
PRIVATE = "whsk_6Xb/dCcHpPea21PS1N9VY/NZW723CEc77N4rJCubMbfVKIDij2HKpMKkioLlX0dRqSKJp4AJ6p9lMicMFs6Kvg=="
PUBLIC = "whpk_1SiA4o9hyqTCpIqC5V9HUakiiaeACeqfZTInDBbOir4="
OLD_PRIVATE = "whsk_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA7aie8zrakLWKjqNAqbw1zZTIVdx3iQ6Y6wEihi1naKQ=="
EVENT = {
    "id": "evt_1",
    "object": "event",
    "created_at": 1750861210,
    "type": "response.completed",
    "data": {"id": "resp_1"},
}
BODY = json.dumps(EVENT).encode()


class Vector(NamedTuple):
    secret: str
    message_id: str
    timestamp_s: int
    body: bytes
    signature: str


VECTORS = (
    Vector(
        OLD,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
    Vector(
        STRANGE,
        "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk",
        1649367553,
        b'{"email":"test@example.com","username":"test_user"}',
        "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=",
    ),
    Vector(
        NEW,
        "wh_685c059ae39c8190af8c71ed1022a24d",
        1750861210,
        b'{"id": "evt_685c059ae3a481909bdc86819b066fb6", "object": "event", "created_at": 1750861210, '
        b'"type": "response.completed", "data": {"id": "resp_123"}}',
        "v1,gUAg4R2hWouRZqRQG4uJypNS8YK885G838+EHb4nKBY=",
    ),
    Vector(
        PRIVATE,
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330,
        b'{"test": 2432232314}',
        "v1a,hnO3f9T8Ytu9HwrXslvumlUpqtNVqkhqw/enGzPCXe5BdqzCInXqYXFymVJaA7AZdpXwVLPo3mNl8EM+m7TBAg==",
    ),
)


def openai_unwraps(secret: str, body: bytes, fields: dict[str, str]) -> str:
    """Return the type of the event that the openai SDK reads after it has verified the signature."""
    with OpenAI(api_key="unused", webhook_secret=secret) as client:
        return client.webhooks.unwrap(body, fields).type
