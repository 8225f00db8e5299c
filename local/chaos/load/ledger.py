"""What callers have seen and been promised, and every check of it."""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from local.chaos.plan import Call
from local.responses import TERMINAL, output_text

Json: TypeAlias = dict[str, Any]
TOLD = 20  # violations of one kind that are printed


@dataclass
class Promise:
    """A response that the service has accepted: how it must end, and with which text. None is not known before."""

    call: Call
    status: str | None
    text: str | None


@dataclass
class Ledger:
    """All responses of a run by id, and the violations found so far."""

    promises: dict[str, Promise] = field(default_factory=dict)
    ended: dict[str, Json] = field(default_factory=dict)  # the first terminal object that was seen
    deleted: set[str] = field(default_factory=set)
    answers: Counter[str] = field(default_factory=Counter)
    checks: Counter[str] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def check(self, name: str, holds: bool, what: object = "") -> bool:
        """Count a check and return whether it holds. If it does not, keep what was seen."""
        self.checks[name] += 1
        if not holds:
            self.broken[name] += 1
            if self.broken[name] <= TOLD:
                self.violations.append(f"{name}: {what}")
        return holds

    def accepted(self, response: Json, call: Call, status: str | None, text: str | None) -> str:
        """Note that a response was accepted, and return its id."""
        self.promises.setdefault(response["id"], Promise(call, status, text))
        self.saw(response)
        return str(response["id"])

    def saw(self, response: Json) -> bool:
        """Check a response object against what was seen of it before. Return whether it has ended."""
        before, name = self.ended.get(response["id"]), "a terminal response never changes"
        if response["status"] not in TERMINAL:
            self.check(name, before is None, f"{response['id']} was {before and before['status']}, then unfinished")
            return False
        if before is None:
            self.ended[response["id"]] = response
        else:
            self.check(name, digest(before) == digest(response), f"{_outline(before)}, then {_outline(response)}")
        return True


def digest(response: Json) -> str:
    """Return a hash of what may not change after the end."""
    kept = {name: response.get(name) for name in ("id", "status", "output", "error", "usage", "incomplete_details")}
    return hashlib.sha256(json.dumps(kept, sort_keys=True).encode()).hexdigest()


def _outline(response: Json) -> str:
    return f"{response['id']} {response['status']} {output_text(response)[:60]!r} {response.get('usage')}"
