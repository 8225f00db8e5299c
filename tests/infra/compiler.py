"""Microsoft's Bicep compiler, as one process that answers many calls (`bicep jsonrpc`)."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from local.stack.process import ROOT

BESIDE = ROOT.parent / "shared" / "bin" / "bicep"
SUBSCRIPTION = "00000000-0000-0000-0000-000000000001"
TENANT = "00000000-0000-0000-0000-000000000002"
LOCATION = "swedencentral"
KEPT = ("PATH", "HOME", "TMPDIR", "DOTNET_ROOT", "DOTNET_BUNDLE_EXTRACT_BASE_DIR")  # what a program needs to start
AZD = {"AZURE_ENV_NAME": "prod", "AZURE_LOCATION": LOCATION}  # what azd sets in any case
# Where a snapshot pretends to be deployed. Without these, names stay expressions.
PLACE = {"subscriptionId": SUBSCRIPTION, "tenantId": TENANT, "location": LOCATION, "deploymentName": "main"}


class Refused(Exception):
    """The compiler, or the evaluation of a deployment, refuses the files. The text says why."""


@dataclass(frozen=True, slots=True)
class Compiled:
    """What the compiler makes of a file: its errors and warnings, and the template, which is empty after an error."""

    complaints: tuple[str, ...]
    template: dict[str, Any]


class Compiler:
    """A running compiler. Each call takes a path of a file as it is now."""

    def __init__(self, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin
        assert process.stdout
        self._to: IO[bytes] = process.stdin
        self._from: IO[bytes] = process.stdout
        self._calls = 0
        self._given: dict[str, dict[str, Any]] = {}

    def compile(self, path: Path) -> Compiled:
        """Compile a .bicep file, with all rules of its bicepconfig.json."""
        answer = self._call("bicep/compile", {"path": str(path)})
        return Compiled(_complaints(answer), json.loads(answer.get("contents") or "{}"))

    def parameters(self, path: Path) -> dict[str, Any]:
        """Return the values that a .bicepparam file gives, by parameter. Raises Refused if one cannot be read.

        A text is read once: what it gives does not depend on the template.
        """
        text = path.read_text(encoding="utf-8")
        if text not in self._given:
            self._given[text] = self._parameters(path)
        return self._given[text]

    def _parameters(self, path: Path) -> dict[str, Any]:
        answer = self._call("bicep/compileParams", {"path": str(path), "parameterOverrides": {}})
        if not answer["success"]:
            raise Refused("; ".join(_complaints(answer)))
        given = json.loads(answer["parameters"])["parameters"]
        return {name: one["value"] for name, one in given.items()}

    def snapshot(self, path: Path) -> dict[str, Any]:
        """Evaluate the deployment that a .bicepparam file describes. Raises Refused if that is not possible."""
        answer = self._call("bicep/getSnapshot", {"path": str(path), "metadata": PLACE})
        found: dict[str, Any] = json.loads(answer["snapshot"])
        if found["diagnostics"]:
            raise Refused(json.dumps(found["diagnostics"]))
        return found

    def formatted(self, path: Path) -> str:
        """Return the text of a file as the compiler formats it."""
        return str(self._call("bicep/format", {"path": str(path)})["contents"])

    def _call(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        self._calls += 1
        body = json.dumps({"jsonrpc": "2.0", "id": self._calls, "method": method, "params": params}).encode()
        self._to.write(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        self._to.flush()
        length = 0
        while line := self._from.readline().strip():
            name, _, value = line.partition(b":")
            length = int(value) if name.lower() == b"content-length" else length
        answer = json.loads(self._from.read(length))
        if "error" in answer:
            raise Refused(answer["error"].get("data", {}).get("message") or answer["error"]["message"])
        found: dict[str, Any] = answer["result"]
        return found


def _complaints(answer: dict[str, Any]) -> tuple[str, ...]:
    return tuple(_complaint(one) for one in answer["diagnostics"])


def _complaint(one: dict[str, Any]) -> str:
    place = f"{Path(one['source']).name}:{one['range']['start']['line'] + 1}"
    return f"{place}: {one['level']} {one['code']}: {one['message']}"


def program(variables: Mapping[str, str] = os.environ, beside: Path = BESIDE) -> Path:
    """Return the compiler: the one on the path, or the one beside the project.

    If there is none, skip the test on a laptop and fail it in CI.
    """
    found = shutil.which("bicep", path=variables.get("PATH", ""))
    if found or beside.is_file():
        return Path(found) if found else beside
    text = "there is no Bicep compiler here: put `bicep` on the path (https://aka.ms/bicep-install)"
    if variables.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)


def environment(**variables: str) -> dict[str, str]:
    """Return the variables with which the compiler runs, and none of a shell that `azd env set` would set.

    .NET is told to do without the library of languages that it may lack.
    """
    own = {name: os.environ[name] for name in KEPT if name in os.environ}
    return {**own, "DOTNET_SYSTEM_GLOBALIZATION_INVARIANT": "1", **AZD, **variables}


@contextmanager
def running(**variables: str) -> Iterator[Compiler]:
    """Run a compiler until the block ends. `variables` are what `azd env set` has set."""
    pipe = subprocess.PIPE
    command = [str(program()), "jsonrpc", "--stdio"]
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, env=environment(**variables), bufsize=-1
    ) as process:
        try:
            yield Compiler(process)
        finally:
            process.kill()
