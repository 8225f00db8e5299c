"""The work as a handler of Restate, whose server takes the create calls itself."""

import asyncio
import os

import hypercorn.asyncio
import restate

from local.bench.peers.apps.calls import Calls, Job

MOST = 2**31 - 1  # as Restate's manual recommends for Hypercorn

calls = Calls()
service = restate.Service("Work")


@service.handler()
async def run(ctx: restate.Context, job: Job) -> None:
    """Make every call of a job, each as a step that is not repeated once it is recorded."""
    job = {**job, "id": ctx.request().id}
    started = await ctx.run_typed("start", calls.start, job=job)
    status = await ctx.run_typed("wait", calls.wait, started=started)
    await ctx.run_typed("call_back", calls.call_back, job=job, status=status)


async def main() -> None:
    """Serve until a signal."""
    config = hypercorn.Config()
    config.bind = [f"127.0.0.1:{os.environ['PORT']}"]
    config.h2_max_concurrent_streams = MOST
    config.keep_alive_max_requests = MOST
    print(f"listening on http://{config.bind[0]}", flush=True)
    await hypercorn.asyncio.serve(restate.app(services=[service]), config)  # speaks HTTP/2, as the server does


if __name__ == "__main__":
    asyncio.run(main())
