"""The running service answers as its OpenAPI document says, whatever it is asked. Schemathesis asks.

No status, type of content, error code or member of a JSON answer is missing in the document, where that does not say
that there may be others. Each header that the document names is there, and no answer is a 5xx.
"""

import json
import os
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from local.azurite import Azurite
from local.credentials.keys import new_credentials
from local.stack.process import ROOT
from tests.support.described_api import answer_faults, operations
from tests.support.environments import need
from tests.support.service_process import Service, create, finished, service, streaming

CHECKS = (
    *("not_a_server_error", "status_code_conformance", "content_type_conformance"),
    *("response_headers_conformance", "response_schema_conformance"),
)
EXAMPLES = 6  # of each operation, beside each bound of each parameter and field
ASKED_S = 400
CLOSELY = 25  # answers of each status of an operation, in which every member must be named in the document
ENDS = ("sim-instant", "sim-fail-0.1s", "sim-incomplete-0.1s", "sim-tool")
UNFINISHED = "sim-3600s"
# The simulated model has no single items, and nobody but the upstream can sign its webhooks.
NEVER = {"retrieve_item", "delete_item", "receive_webhook"}
Statuses = dict[str, Counter[int]]

pytestmark = pytest.mark.timeout(2 * ASKED_S)


@pytest.fixture(scope="module")
def running(azurite: Azurite, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Service, httpx.Client]]:
    """Run a service, and yield it with a client of an operator. It must have logged nothing unexpected at the end."""
    ops = new_credentials("ops")
    settings: dict[str, Any] = {
        "CALLERS": json.dumps([ops.configuration() | {"role": "operator"}]),
        "REPLY_QUEUES": "results",
        "CONSOLE": "true",
    }
    with ExitStack() as cleanup:
        directory = tmp_path_factory.mktemp("described")
        running = cleanup.enter_context(service(directory, azurite.account(), webhooks=True, **settings))
        client = httpx.Client(
            base_url=f"{running.hosts[0].url}/openai/v1",
            headers={"Authorization": f"Bearer {ops.api_key}"},
            timeout=30,
            trust_env=False,
        )
        yield running, cleanup.enter_context(client)
        assert running.unexpected() == []


def made(client: httpx.Client, callback: str) -> dict[str, list[str]]:
    """Return the ids of what exists, by the first segment of its path: responses of every kind, and one of the rest."""
    responses = [finished(client, create(client, model, callback_url=callback))["id"] for model in ENDS]
    responses.append(create(client, UNFINISHED)["id"])
    with streaming(client, "sim-instant") as events:
        responses.append(list(events)[-1]["response"]["id"])
    items = [{"role": "user", "content": "One."}]
    conversation = client.post("/conversations", json={"items": items}).raise_for_status().json()
    erasure = client.delete("/responses", params={"before": "2026-01-01T00:00:00Z"}).raise_for_status().json()
    ids = {"responses": responses, "conversations": [conversation["id"]], "erasures": [erasure["id"]]}
    return {**ids, "models": ["sim-instant"]}


def asked(running: Service, client: httpx.Client, directory: Path, *which: str) -> Statuses:
    """Ask the service everything about some operations, and return the statuses of its answers by operation.

    Asserts that each answer is as the document says. The requests are the same in every run.
    """
    log, callback = directory / "log.txt", f"{running.receiver.url}/callback"
    known = {"ids": made(client, callback), "callback": callback, "log": str(log)}
    flags = ["--phases", "examples,coverage,fuzzing", "--max-examples", str(EXAMPLES), "--generation-deterministic"]
    flags += ["--seed", "1", "--no-shrink", "--continue-on-failure", "--request-timeout", "30", "--no-color"]
    flags += ["--checks", ",".join(CHECKS), "--warnings", "off"]
    flags += ["--header", f"Authorization: {client.headers['authorization']}"]
    program = need("schemathesis") / "bin" / "schemathesis"
    done = subprocess.run(
        [str(program), "run", f"{running.hosts[0].url}/openapi.json", *flags, *which],
        cwd=directory,
        env={
            **os.environ,
            "ASKED": json.dumps(known),
            "PYTHONPATH": str(ROOT),
            "SCHEMATHESIS_HOOKS": "tests.support.schemathesis_hooks",
        },
        capture_output=True,
        text=True,
        timeout=ASKED_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    found: Statuses = defaultdict(Counter)
    wrong = list[tuple[str, int, str]]()
    for line in log.read_text(encoding="utf-8").splitlines():
        noted = json.loads(line)
        name, status = noted["operation"], noted["status"]
        found[name][status] += 1
        if "body" in noted and found[name][status] <= CLOSELY:
            wrong += [(name, status, fault) for fault in answer_faults(name, status, noted["body"])]
    assert wrong == []
    return found


def named(*, deleting: bool) -> set[str]:
    """Return the names of the operations that delete something, or of the others."""
    return {one["operationId"] for _, method, one in operations() if (method == "DELETE") is deleting}


def check_statuses(found: Statuses, names: set[str]) -> None:
    """Assert that these operations were asked, and that each of them has done what it is for."""
    assert found.keys() == names
    idle = {name for name, statuses in found.items() if not any(200 <= status < 300 for status in statuses)}
    assert idle == names & NEVER


def test_every_answer_is_as_the_document_says(running: tuple[Service, httpx.Client], tmp_path: Path) -> None:
    """Of every operation that deletes nothing, at the bounds of each parameter and field, and beyond them.

    Each of them succeeds and refuses. A create is answered with a response, a stream, 202 and refusals.
    """
    found = asked(*running, tmp_path, "--exclude-method", "DELETE")
    check_statuses(found, named(deleting=False))
    assert found["create_response"].keys() >= {200, 202, 400, 401, 415}
    assert found["receive_webhook"].keys() >= {401}


def test_every_answer_to_a_deletion_is_as_the_document_says(
    running: tuple[Service, httpx.Client], tmp_path: Path
) -> None:
    """These come last, because they take away what the other operations ask for."""
    check_statuses(asked(*running, tmp_path, "--include-method", "DELETE"), named(deleting=True))


def test_probes_need_no_key(running: tuple[Service, httpx.Client]) -> None:
    """The document is the same under each base and at the root, and says so of the probes."""
    url = running[0].hosts[0].url
    paths = ("", "/v1", "/openai", "/openai/v1")
    answers = [httpx.get(f"{url}{base}/openapi.json", trust_env=False) for base in paths]
    assert {(answer.status_code, answer.headers["etag"]) for answer in answers} == {(200, answers[0].headers["etag"])}
    etag = {"If-None-Match": answers[0].headers["etag"]}
    assert httpx.get(f"{url}/openapi.json", headers=etag, trust_env=False).status_code == 304
