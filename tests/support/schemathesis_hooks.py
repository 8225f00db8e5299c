"""What Schemathesis knows of the running service beside its document. It runs in an environment of its own.

It asks for what exists and names a model that exists, so that more than refusals is seen. The variable ASKED is a JSON
object: `ids` are lists of ids by the first segment of a path, `callback` is a URL, and `log` is a file that gets a line
for each answer, with its body if that is JSON.
"""

import json
import os
import re
from itertools import cycle
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import schemathesis
from schemathesis import Case, HookContext, Response

ASKED: dict[str, Any] = json.loads(os.environ["ASKED"])
PREFERS = cycle([True, False, False, False])  # whether the next request that may wait or not says so
IDS = {kind: cycle(ids) for kind, ids in ASKED["ids"].items()}
REPLY_QUEUE, SLOW, FAST = "results", "sim-1s", "sim-instant"
_SPACE = re.compile(r"\s")
_ID = re.compile(r"(?:[a-z]+_)?[A-Za-z0-9._:-]{1,128}")
_SHORT = 100  # characters. A longer text is meant to be too long


@schemathesis.hook
def filter_case(_context: HookContext, case: Case) -> bool:
    """Leave out white space in a path. The platform answers that with an empty 404, before any function is called."""
    return not any(_SPACE.search(unquote(str(value))) for value in case.path_parameters.values())


@schemathesis.hook
def before_call(_context: HookContext, case: Case, _kwargs: dict[str, Any]) -> None:
    """Put what exists in the place of names that are right and name nothing.

    Of the requests that prefer an answer at once or later, most do not.
    """
    if "Prefer" in (case.headers or {}) and not next(PREFERS):
        del case.headers["Prefer"]
    kind = next((one for one in IDS if f"/{one}/" in case.path), None)
    if kind and _ID.fullmatch(str(case.path_parameters.get("id", "/"))):
        case.path_parameters["id"] = next(IDS[kind])
    if "/responses" in case.path and isinstance(case.body, dict):
        case.body = _known(case.body, "respond-async" in str((case.headers or {}).get("Prefer")))


def _known(body: dict[str, Any], is_async: bool) -> dict[str, Any]:
    known = {
        "model": SLOW if is_async else FAST,
        "callback_url": ASKED["callback"],
        "reply_to": REPLY_QUEUE,
        "previous_response_id": ASKED["ids"]["responses"][0],
    }
    found = {"model": "", **body}
    found |= {name: text for name, text in known.items() if _is_short(found.get(name))}
    if found.get("previous_response_id"):
        found.pop("conversation", None)  # they exclude each other
    return found


def _is_short(value: object) -> bool:
    return isinstance(value, str) and len(value) < _SHORT


@schemathesis.hook
def after_call(_context: HookContext, case: Case, response: Response) -> None:
    """Note the operation, the status and the body of every answer."""
    is_json = "".join(response.headers.get("content-type", [])) == "application/json"
    noted = {
        "operation": case.operation.definition.raw["operationId"],
        "status": response.status_code,
        **({"body": json.loads(response.content)} if is_json else {}),
    }
    with Path(ASKED["log"]).open("a", encoding="utf-8") as log:
        log.write(f"{json.dumps(noted)}\n")


@schemathesis.deserializer("text/event-stream")
def _events(_context: Any, response: Response) -> list[Any]:
    """Return the events of a stream, each of which is checked. Without this it would be the frame around it."""
    lines = response.content.decode().split("\n")
    return [json.loads(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
