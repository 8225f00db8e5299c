"""Messages of queues as a test compares them: read from the requests that send them."""

import re
from base64 import b64decode
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson

from shared.storage.messages import WAKEUPS

_TEXT = re.compile(rb"<MessageText>(.+)</MessageText>")


@dataclass(frozen=True)
class Sent:
    """A message that was sent to a queue, and the seconds for which it stays invisible."""

    queue: str
    content: dict[str, Any]
    delay_s: int


def wakeup(at_s: int, delay_s: int, shard: str = "a", **until: int) -> Sent:
    """Return the wake-up of a shard as it is sent. With `until`, a unix time, it is one from the heartbeat."""
    return Sent(WAKEUPS, {"shards": shard, "at": at_s, **until}, delay_s)


def sent_by(http: Any) -> Sent | None:
    """Return the message that an HTTP request of the queues' client sends, or None for a request of another kind."""
    text = _TEXT.search(http.body or b"") if http.method == "POST" else None
    if text is None:
        return None
    delay_s = int(http.query.get("visibilitytimeout", 0))
    return Sent(urlsplit(http.url).path.split("/")[2], orjson.loads(b64decode(text[1])), delay_s)
