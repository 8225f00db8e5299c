"""Fetches the compiler's type data for the types that Bicep files name: `fetching.py TYPES.json FILE...`.

Runs Microsoft's MCP server once and queries it over MCP, without signing in. Types that the file already has are kept.
"""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import IO, Any

NAMED = re.compile(r"'(Microsoft\.[A-Za-z]+/[A-Za-z/]+)@")
SERVER = Path(sys.executable).parent / "azmcp"


def main(kept: Path, files: list[Path]) -> None:
    """Add the missing types to the file `kept`. A type that the server has no data for is recorded as null."""
    wanted = {name for file in files for name in NAMED.findall(file.read_text(encoding="utf-8"))}
    data: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if missing := sorted(wanted - data.keys()):
        data.update(_asked(missing))
        whole = kept.with_suffix(".new")
        whole.write_text(json.dumps(data), encoding="utf-8")
        whole.replace(kept)


def _asked(names: list[str]) -> dict[str, Any]:
    command = [str(SERVER), "server", "start", "--mode", "all", "--namespace", "bicepschema"]
    environment = {**os.environ, "AZURE_MCP_COLLECT_TELEMETRY": "false"}
    pipe = subprocess.PIPE
    with subprocess.Popen(
        command, stdin=pipe, stdout=pipe, stderr=subprocess.DEVNULL, text=True, env=environment
    ) as server:
        assert server.stdin
        assert server.stdout
        client = {"protocolVersion": "2024-11-05", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
        _call(server.stdin, server.stdout, 0, "initialize", client)
        _say(server.stdin, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        found = {name: _type(server.stdin, server.stdout, number, name) for number, name in enumerate(names, 1)}
        server.stdin.close()
        server.terminate()
    return found


def _type(to: IO[str], answers: IO[str], number: int, name: str) -> Any:
    asked = {"name": "bicepschema_get", "arguments": {"resource-type": name}}
    answer = json.loads(_call(to, answers, number, "tools/call", asked)["content"][0]["text"])
    return answer["results"]["BicepSchemaResult"] if answer["status"] == 200 else None


def _call(to: IO[str], answers: IO[str], number: int, method: str, params: dict[str, Any]) -> Any:
    _say(to, {"jsonrpc": "2.0", "id": number, "method": method, "params": params})
    for line in answers:
        message = json.loads(line)
        if message.get("id") == number:
            return message["result"]
    raise RuntimeError("the server of type data has ended")


def _say(to: IO[str], message: dict[str, Any]) -> None:
    to.write(json.dumps(message) + "\n")
    to.flush()


if __name__ == "__main__":
    main(Path(sys.argv[1]), [Path(name) for name in sys.argv[2:]])
