"""Stream a background response with the openai SDK, and resume after the last event when the connection breaks.

pip install "openai>=3". Set BASE, KEY and optionally MODEL in the environment.
"""

import os
import time
import uuid
from typing import Any

from openai import APIConnectionError, NotFoundError, OpenAI

ENDS = ("response.completed", "response.failed", "response.incomplete")
client = OpenAI(base_url=os.environ["BASE"], api_key=os.environ["KEY"])
ask: dict[str, Any] = {
    "model": os.environ.get("MODEL", "sim-5s"),
    "input": "Why do long calls break?",
    "background": True,
    "stream": True,
    "extra_headers": {"Idempotency-Key": str(uuid.uuid4())},  # a repeated POST then returns the same stream
}
text, response_id, event = "", "", None
while event is None or event.type not in ENDS:
    try:
        if event is None:
            stream = client.responses.create(**ask)
        else:
            stream = client.responses.retrieve(response_id, stream=True, starting_after=event.sequence_number)
        for event in stream:
            if event.type == "response.created":
                response_id = event.response.id
            elif event.type == "response.in_progress":
                text = ""  # after a restart, the text begins again
            elif event.type == "response.output_text.delta":
                text += event.delta
    except APIConnectionError:
        time.sleep(1)
    except NotFoundError as error:
        if error.response.content:
            raise
        time.sleep(1)  # an empty 404 comes from the platform, while it starts
if event.response.status != "completed":
    raise SystemExit(f"{event.response.status}: {event.response.error}")
print(event.response.status, text)
