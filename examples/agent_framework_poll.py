"""Run an agent of Microsoft Agent Framework in the background, and poll until its answer is there.

pip install agent-framework-openai; BASE, KEY and, if you like, MODEL come from the environment.
"""

import asyncio
import os

from agent_framework import Agent
from agent_framework.openai import OpenAIChatClient

OPTIONS = {"background": True}


async def main() -> None:
    """Print the answer, or raise what the model failed of."""
    model = os.environ.get("MODEL", "sim-5s")
    client = OpenAIChatClient(model=model, base_url=os.environ["BASE"], api_key=os.environ["KEY"])
    agent = Agent(client=client, instructions="Be brief.")
    session = agent.create_session()
    reply = await agent.run("Why do long calls break?", session=session, options=OPTIONS)
    while (token := reply.continuation_token) is not None:  # JSON: it may outlive the program
        await asyncio.sleep(1)
        reply = await agent.run(session=session, options={**OPTIONS, "continuation_token": token})
    response = reply.raw_representation.raw_representation
    if response.status != "completed":  # nothing else tells: the text of a failed run is empty
        raise SystemExit(f"{response.status}: {response.error}")
    print(response.status, reply.text)


asyncio.run(main())
