"""The work as a workflow of DBOS, in one process: `python -m local.bench.peers.apps.dbos_app front`."""

import asyncio
import os

from dbos import DBOS, DBOSConfig, SetWorkflowID

from local.bench.peers.apps import front
from local.bench.peers.apps.calls import Calls, Job

calls = Calls()
RETRIES = 10


@DBOS.step(retries_allowed=True, max_attempts=RETRIES)
async def start(job: Job) -> str:
    """Start the work."""
    return await calls.start(job)


@DBOS.step(retries_allowed=True, max_attempts=RETRIES)
async def wait(started: str) -> str:
    """Wait for its end."""
    return await calls.wait(started)


@DBOS.step(retries_allowed=True, max_attempts=RETRIES)
async def call_back(job: Job, status: str) -> None:
    """Call back."""
    await calls.call_back(job, status)


@DBOS.workflow()
async def work(job: Job) -> None:
    """Make every call of a job, each as a step that is not repeated once it is recorded."""
    await call_back(job, await wait(await start(job)))


async def accept(job: Job) -> None:
    """Record the workflow and begin it."""
    with SetWorkflowID(job["id"]):
        await DBOS.start_workflow_async(work, job)


async def main() -> None:
    """Recover what was interrupted, and serve until a signal."""
    config: DBOSConfig = {
        "name": "bench",
        "system_database_url": os.environ["DATABASE"],
        "application_version": "1",
        "log_level": "WARNING",
    }
    DBOS(config=config)
    DBOS.launch()
    await front.serve(accept)


if __name__ == "__main__":
    asyncio.run(main())
