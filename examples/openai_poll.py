"""Start a background response with the openai SDK, and poll until it has ended.

pip install openai. Set BASE, KEY and optionally MODEL in the environment.
"""

import os
import time

from openai import OpenAI

client = OpenAI(base_url=os.environ["BASE"], api_key=os.environ["KEY"])
response = client.responses.create(
    model=os.environ.get("MODEL", "sim-5s"), input="Why do long calls break?", background=True
)
while response.status in ("queued", "in_progress"):
    time.sleep(1)
    response = client.responses.retrieve(response.id)
if response.status != "completed":
    raise SystemExit(f"{response.status}: {response.error}")
print(response.status, response.output_text)
