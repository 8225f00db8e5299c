"""Start a background response with the openai SDK, and poll until it has ended.

pip install "openai>=3". Set BASE, KEY and optionally MODEL in the environment.
"""

import os
import time
import uuid
from collections.abc import Callable
from typing import Any

from openai import NotFoundError, OpenAI
from openai.types.responses import Response


def patiently(call: Callable[..., Response], *arguments: Any, **named: Any) -> Response:
    """Repeat a call that is answered by an empty 404, which comes from the platform while it starts.

    The service's own 404 has an error in its body. The SDK repeats every other temporary error by itself.
    """
    for pause_s in (1, 2, 4, 8, 16):
        try:
            return call(*arguments, **named)
        except NotFoundError as error:
            if error.response.content:
                raise
            time.sleep(pause_s)
    return call(*arguments, **named)


client = OpenAI(base_url=os.environ["BASE"], api_key=os.environ["KEY"])
again = {"Idempotency-Key": str(uuid.uuid4())}  # a repeated POST then returns the same response
response = patiently(
    client.responses.create,
    model=os.environ.get("MODEL", "sim-5s"),
    input="Why do long calls break?",
    background=True,
    extra_headers=again,
)
while response.status in ("queued", "in_progress"):
    time.sleep(1)
    response = patiently(client.responses.retrieve, response.id)
if response.status != "completed":
    raise SystemExit(f"{response.status}: {response.error}")
print(response.status, response.output_text)
