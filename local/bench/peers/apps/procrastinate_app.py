"""The work as tasks of Procrastinate: `python -m local.bench.peers.apps.procrastinate_app front|worker`.

A task that is tried again makes all its calls again, so each call is a task of its own. A worker that is killed leaves
its jobs as running. The periodic task that its manual recommends starts them again.
"""

import asyncio
import os
import sys

import procrastinate

from local.bench.peers.apps import front
from local.bench.peers.apps.calls import Calls, Job
from local.bench.peers.apps.retries import DELAY_S, RETRIES

CONCURRENCY = 1000
RETRY = procrastinate.RetryStrategy(max_attempts=RETRIES, wait=int(DELAY_S))

app = procrastinate.App(connector=procrastinate.PsycopgConnector(conninfo=os.environ.get("DATABASE", ""), max_size=8))
calls = Calls()


@app.task(name="start", retry=RETRY)
async def start(job: Job) -> None:
    """Start the work."""
    await wait.defer_async(job=job, started=await calls.start(job))


@app.task(name="wait", retry=RETRY)
async def wait(job: Job, started: str) -> None:
    """Wait for its end."""
    await call_back.defer_async(job=job, status=await calls.wait(started))


@app.task(name="call_back", retry=RETRY)
async def call_back(job: Job, status: str) -> None:
    """Call back."""
    await calls.call_back(job, status)


@app.periodic(cron="* * * * * */10")  # the last field is seconds
@app.task(name="stalled", queueing_lock="stalled", pass_context=True)
async def retry_stalled(context: procrastinate.JobContext, timestamp: int) -> None:  # noqa: ARG001 - it is passed by name
    """Start the jobs of dead workers again."""
    manager = context.app.job_manager
    for job in await manager.get_stalled_jobs():
        await manager.retry_job(job)


async def main(role: str) -> None:
    """Serve the front, or work until a signal."""
    async with app.open_async():
        if role == "front":
            await front.serve(lambda job: start.defer_async(job=job))
        else:
            print("listening on http://127.0.0.1:0", flush=True)  # the worker has no port, and this says that it runs
            await app.run_worker_async(concurrency=CONCURRENCY, delete_jobs="successful", wait=True)


async def apply_schema() -> None:
    """Create the tables."""
    async with app.open_async():
        await app.schema_manager.apply_schema_async()


if __name__ == "__main__":
    asyncio.run(apply_schema() if sys.argv[1] == "schema" else main(sys.argv[1]))
