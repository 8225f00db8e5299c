"""The work as a workflow of DBOS, in one process: `python -m local.bench.peers.apps.dbos_app front`."""

import asyncio
import json
import os
from collections.abc import AsyncIterator

from dbos import DBOS, DBOSConfig, SetWorkflowID
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from local.bench.peers.apps import front
from local.bench.peers.apps.calls import Calls, Job
from local.bench.peers.apps.retries import DBOS_ATTEMPTS, DBOS_FACTOR, DBOS_FIRST_S

calls = Calls()
RETRY = {
    "retries_allowed": True,
    "max_attempts": DBOS_ATTEMPTS,
    "interval_seconds": DBOS_FIRST_S,
    "backoff_rate": DBOS_FACTOR,
}
EVENTS = "events"


@DBOS.step(**RETRY)
async def start(job: Job) -> str:
    """Start the work."""
    return await calls.start(job)


@DBOS.step(**RETRY)
async def wait(started: str) -> str:
    """Wait for its end."""
    return await calls.wait(started)


@DBOS.step(**RETRY)
async def call_back(job: Job, status: str) -> None:
    """Call back."""
    await calls.call_back(job, status)


@DBOS.workflow()
async def work(job: Job) -> None:
    """Make every call of a job, each as a step that is not repeated once it is recorded."""
    await call_back(job, await wait(await start(job)))


@DBOS.step(**RETRY)
async def relay(job: Job) -> None:
    """Write each event of the model to the stream of the workflow."""
    async for event in calls.events(job):
        await DBOS.write_stream_async(EVENTS, event)


@DBOS.workflow()
async def stream(job: Job) -> None:
    """Relay the events of a job."""
    await relay(job)
    await DBOS.close_stream_async(EVENTS)


async def accept(job: Job) -> None:
    """Record the workflow and begin it."""
    with SetWorkflowID(job["id"]):
        await DBOS.start_workflow_async(stream if job.get("stream") else work, job)


async def read(request: Request) -> Response:
    """Answer with the events above a number, as server-sent events. They are numbered from 0, as offsets are."""
    offset = int(request.query_params["starting_after"]) + 1

    async def frames() -> AsyncIterator[str]:
        async for event in DBOS.read_stream_async(request.path_params["id"], EVENTS, offset=offset):
            yield f"data: {json.dumps(event)}\n\n"

    return StreamingResponse(frames(), media_type="text/event-stream")


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
    await front.serve(accept, [Route("/responses/{id}", read, methods=["GET"])])


if __name__ == "__main__":
    asyncio.run(main())
