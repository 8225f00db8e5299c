"""The work as tasks of Celery: `python -m local.bench.peers.apps.celery_app front|worker`.

A task that waited for the model would hold a process, so each poll is a task that asks for the next one.
"""

import asyncio
import json
import os
import sys
from typing import Any

import celery
import urllib3
from celery import signals

from local.bench.peers.apps import front
from local.bench.peers.apps.retries import DELAY_S, RETRIES

POLL_EVERY_S = 0.5
FINAL = frozenset({"completed", "failed", "incomplete", "cancelled"})
DEADLINE_S = 30.0
VISIBLE_S = 35  # longer than a call may take. What a killed worker held comes back after it
RESTORE_EVERY_S = 5
RETRY = {"autoretry_for": (Exception,), "max_retries": RETRIES, "default_retry_delay": DELAY_S}

app = celery.Celery("bench", broker=os.environ.get("BROKER", ""))
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=4,
    broker_connection_retry_on_startup=True,
    broker_transport_options={
        "visibility_timeout": VISIBLE_S,
        "unacked_restore_interval": RESTORE_EVERY_S,  # by default, what is due is looked for every 100 s
        "unacked_restore_throttle": 1,
    },
)
http = urllib3.PoolManager(maxsize=16, timeout=DEADLINE_S, retries=False)


@app.task(name="start", **RETRY)
def start(job: dict[str, Any]) -> None:
    """Start the work, and ask for the first poll."""
    body = {"model": job["model"], "input": job["input"], "background": True}
    found = _json("POST", f"{os.environ['MODEL_URL']}/v1/responses", body, {"Idempotency-Key": job["id"]})
    poll.apply_async((job, found["id"]), countdown=POLL_EVERY_S)


@app.task(name="poll", **RETRY)
def poll(job: dict[str, Any], started: str) -> None:
    """Ask whether it has ended. Call back, or ask for the next poll."""
    status = _json("GET", f"{os.environ['MODEL_URL']}/v1/responses/{started}")["status"]
    if status in FINAL:
        call_back.delay(job, status)
    else:
        poll.apply_async((job, started), countdown=POLL_EVERY_S)


@app.task(name="call_back", **RETRY)
def call_back(job: dict[str, Any], status: str) -> None:
    """Call back."""
    _json("POST", job["callback_url"], {"type": f"response.{status}", "data": {"id": job["id"]}})


def _json(method: str, url: str, body: object = None, headers: dict[str, str] | None = None) -> Any:
    answer = http.request(method, url, json=body, headers=headers) if body else http.request(method, url)
    if answer.status >= 300:
        raise urllib3.exceptions.HTTPError(f"{method} answered {answer.status}")
    return json.loads(answer.data) if answer.data else None


async def accept(job: dict[str, Any]) -> None:
    """Send the first task, over a connection that stays open."""
    start.delay(job)


@signals.worker_ready.connect
def announce(**_: object) -> None:
    """Say that the worker runs. It has no port."""
    print("listening on http://127.0.0.1:0", flush=True)


if __name__ == "__main__":
    if sys.argv[1] == "front":
        asyncio.run(front.serve(accept))
    else:
        app.worker_main(sys.argv[1:])
