"""What a cold start of the app imports: how long it takes and how much memory it uses, in a new interpreter."""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from local.stack.process import ROOT

TIMES = 5
DEADLINE_S = 60
PROGRAMS = {
    "the platform's libraries alone": "import azure.functions, azurefunctions.extensions.http.fastapi",
    "the functions, as every instance starts": "import function_app",
    "and OpenTelemetry's SDK, where telemetry is on": "import function_app; import shared.telemetry.exporters",
    "and Microsoft's exporter, in the background, when the first batch goes": (
        "import function_app, shared.telemetry.exporters; import azure.monitor.opentelemetry.exporter"
    ),
    "and Agent Framework with its OpenAI client, where an agent runs": (
        "import function_app, agent_framework.openai; agent_framework.openai.OpenAIChatClient; agent_framework.Agent"
    ),
}
MEASURED = """
import json, time
began_s, busy_s = time.perf_counter(), time.process_time()
{program}
took_s, cpu_s = time.perf_counter() - began_s, time.process_time() - busy_s
import psutil
print(json.dumps({{"took_s": took_s, "cpu_s": cpu_s, "bytes": psutil.Process().memory_info().rss}}))
"""


@dataclass(frozen=True)
class Start:
    """The medians of several starts."""

    took_s: float
    cpu_s: float
    mebibytes: float


def measured() -> dict[str, Start]:
    """Return what each program costs when its byte code is already compiled."""
    return {name: _start(program) for name, program in PROGRAMS.items()}


def lines(starts: Mapping[str, Start]) -> list[str]:
    """Return the measurements, one line each."""
    return [
        f"{name}: {start.took_s:.2f} s, of the processor {start.cpu_s:.2f} s, {start.mebibytes:.0f} MiB"
        for name, start in starts.items()
    ]


def _start(program: str) -> Start:
    seen = [_once(program) for _ in range(TIMES + 1)][1:]  # the first may compile
    took_s, cpu_s, size = (statistics.median(one[name] for one in seen) for name in ("took_s", "cpu_s", "bytes"))
    return Start(took_s, cpu_s, size / 2**20)


def _once(program: str) -> dict[str, float]:
    command = [sys.executable, "-c", MEASURED.format(program=program)]
    # If byte code is not kept, Python compiles the app, though not its libraries, at every start.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    ran = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=DEADLINE_S, check=True)
    figures: dict[str, float] = json.loads(ran.stdout)
    return figures


def main() -> None:
    """Print only these figures."""
    print("\n".join(lines(measured())))


if __name__ == "__main__":
    main()
