"""Stream an agent of Microsoft Agent Framework, and resume after the last event when the connection breaks.

pip install agent-framework-openai "openai>=3". Set BASE, KEY and optionally MODEL in the environment.
"""

import asyncio
import os
import uuid
from typing import Any

from agent_framework import Agent
from agent_framework.exceptions import ChatClientException
from agent_framework.openai import OpenAIChatClient
from openai import APIConnectionError

PROMPT = "Why do long calls break?"
ENDS = ("response.completed", "response.failed", "response.incomplete")


class Listener:
    """What is known of a response so far: its token, the last event, and the text."""

    def __init__(self, agent: Any) -> None:
        self._agent = agent
        self._key = str(uuid.uuid4())  # a repeated start then returns the same stream
        self._token: Any = None
        self.event: Any = None
        self.text = ""

    def _connect(self) -> Any:
        options: dict[str, Any] = {"background": True}
        if self._token is None:
            headers = {"Idempotency-Key": self._key}
            return self._agent.run(PROMPT, stream=True, options=options, client_kwargs={"extra_headers": headers})
        options["continuation_token"] = self._token
        headers = {"Last-Event-ID": str(self.event.sequence_number)}  # without it, the stream starts over
        return self._agent.run(stream=True, options=options, client_kwargs={"extra_headers": headers})

    async def listen(self) -> None:
        """Read one connection until it ends or breaks."""
        async for update in self._connect():
            self._token = update.continuation_token or self._token
            self.event = update.raw_representation.raw_representation
            if self.event.type == "response.in_progress":
                self.text = ""  # after a restart, the text begins again
            elif self.event.type == "response.output_text.delta":
                self.text += self.event.delta


async def main() -> None:
    """Print the status and the whole text, however often the connection breaks."""
    model = os.environ.get("MODEL", "sim-5s")
    client = OpenAIChatClient(model=model, base_url=os.environ["BASE"], api_key=os.environ["KEY"])
    listener = Listener(Agent(client=client))
    while listener.event is None or listener.event.type not in ENDS:
        try:
            await listener.listen()
        except ChatClientException as error:
            if not isinstance(error.__cause__, APIConnectionError):
                raise
            await asyncio.sleep(1)
    print(listener.event.response.status, listener.text)


asyncio.run(main())
