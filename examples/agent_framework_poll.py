"""Run an agent of Microsoft Agent Framework in the background, and poll until its answer is there.

pip install agent-framework-openai. Set BASE, KEY and optionally MODEL in the environment.
"""

import asyncio
import os

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient

OPTIONS = {"background": True}


async def main() -> None:
    """Print the answer, or exit with the error of a failed run."""
    model = os.environ.get("MODEL", "sim-5s")
    client = OpenAIChatClient(model=model, base_url=os.environ["BASE"], api_key=os.environ["KEY"])
    agent = Agent(client=client, instructions="Be brief.")
    session = agent.create_session()
    reply = await agent.run("Why do long calls break?", session=session, options=OPTIONS)
    while (token := reply.continuation_token) is not None:  # JSON, so another process can go on
        await asyncio.sleep(1)
        reply = await agent.run(session=session, options={**OPTIONS, "continuation_token": token})
    response = reply.raw_representation.raw_representation
    if response.status != "completed":  # nothing else shows a failure, and its text is empty
        raise SystemExit(f"{response.status}: {response.error}")
    print(response.status, reply.text)


asyncio.run(main())
