"""Rows and messages as another version of the service left them in storage."""

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from shared.core.states import Status
from tests.support.fakes.peers import Outcome, Work
from tests.support.fakes.streams import story
from tests.support.stage import Stage

Json: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Storage:
    """What storage holds: the rows, the messages as JSON objects, the time in unix ms, and the upstream's work."""

    now_ms: int
    id: str
    rows: list[Json]
    messages: list[Json]
    works: list[Json]
    webhook: str = ""

    @classmethod
    def load(cls, path: Path) -> "Storage":
        """Return what a file holds."""
        return cls(**json.loads(path.read_text(encoding="utf-8")))

    def sent(self, queue: str) -> list[Json]:
        """Return the messages of a queue."""
        return [one["content"] for one in self.messages if one["queue"] == queue]

    async def restore(self, stage: Stage, change: Callable[[Json], Json] = dict) -> None:
        """Write the rows, each changed by a function, and let the upstream know its work. Set the clock."""
        stage.clock.ms = self.now_ms
        for one in self.works:
            course: list[Outcome] = [Status.IN_PROGRESS, Status.COMPLETED]
            stage.upstream.works[one["token"]] = Work(one["token"], one["request"], course, Status.QUEUED, story(6))
        table = await stage.table()
        for row in self.rows:
            await table.create_entity({name: _value(value) for name, value in change(row).items()})


def with_unknown_members(row: Json) -> Json:
    """Return a row as a newer version may write it: with more columns, and more members at every depth."""
    newer = {**row, "colour": "red"}
    if "facts" in row:
        facts = json.loads(row["facts"]) | {"row_version": 7, "colour": {"of": ["a", {"b": None}]}}
        facts["deliveries"] = [one | {"colour": "blue", "size": {"c": 2}} for one in facts.get("deliveries", [])]
        newer["facts"] = json.dumps(facts)
    return newer


def _value(value: Any) -> Any:
    return b64decode(value["base64"]) if isinstance(value, dict) else value
