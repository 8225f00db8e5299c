"""Hosts are killed under load, and what was used is counted once for each response, also after purges.

`CHAOS_SEED` in the environment repeats a run's choices and moments, but not the lines at which the kills land.
"""

import random
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
from azure.data.tables import TableClient

from shared.bootstrap import TABLE
from tests.support.chaos_load import Load
from tests.support.peer_processes import eventually
from tests.support.service_process import service
from tests.support.stage import Say

COUNT = 1_000
KILLS = 4
TOKENS = ("input_tokens", "output_tokens")
PURGED_S = 90.0


def used(client: httpx.Client, since: str) -> dict[str, Any]:
    """Return the total of what the caller has used since a day."""
    total: dict[str, Any] = client.get("/usage", params={"from": since}).raise_for_status().json()["total"]
    return total


def listed(client: httpx.Client) -> set[str]:
    """Return the ids of all pages of the caller's responses."""
    found, after = set[str](), dict[str, str]()
    while True:
        page = client.get("/responses", params={"limit": "100", **after}).raise_for_status().json()
        found |= {item["id"] for item in page["data"]}
        if not page["has_more"]:
            return found
        after = {"after": page["next_after"]}


def stored(connection_string: str) -> set[str]:
    """Return the ids of all responses that have a record."""
    with TableClient.from_connection_string(connection_string, TABLE) as table:
        rows = table.query_entities("RowKey ge 'resp|' and RowKey lt 'resp}'", select=["RowKey"])
        return {str(row["RowKey"]).split("|")[1] for row in rows}


def test_usage_is_what_the_model_has_counted(connection_string: str, tmp_path: Path, seed: int, say: Say) -> None:
    """A thousand responses while the host is killed: the tokens are those of the model, and each response is listed.

    Then half of them are deleted, and the host is killed while it purges them. Nothing is counted twice or lost.
    """
    rng, since = random.Random(seed), datetime.now(UTC).date().isoformat()
    with service(tmp_path, connection_string, time_factor=1) as running:
        load = Load(running, seed, count=COUNT, keyed=True, pause_s=0.3)
        with load.sending():
            for _ in range(KILLS):
                time.sleep(rng.uniform(2, 6))  # the moment is the test's input
                running.hosts[0].kill()
                running.hosts[0].start()
        say(f"settled after {load.settle():.0f} s")
        client = running.client()
        assert listed(client) == set(load.accepted.values())
        before = used(client, since)
        assert before["responses"] == COUNT
        told = running.model.stats()
        assert [before[name] for name in TOKENS] == [told[name] for name in TOKENS]

        gone = sorted(load.accepted.values())[::2]
        for response_id in gone[: len(gone) // 2]:
            client.delete(f"/responses/{response_id}").raise_for_status()
        running.hosts[0].kill()
        running.hosts[0].start()
        for response_id in gone[len(gone) // 2 :]:
            client.delete(f"/responses/{response_id}").raise_for_status()
        assert listed(client) == set(load.accepted.values()) - set(gone)
        eventually(lambda: not stored(connection_string) & set(gone), PURGED_S)
        assert used(client, since) == before
