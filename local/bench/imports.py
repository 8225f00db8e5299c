"""What a cold start of the app imports: how long it takes and how much memory it uses, in new interpreters.

Durations are the best of six, because the speed of a machine varies more than they do. The programs take turns, and the
ratio is the median of what each turn had, so that it does not vary with the machine.
"""

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from local.bench.import_tree import costs, dearest, parse
from local.stack.process import ROOT

TIMES = 6
DEADLINE_S = 60
AIM = 1.7
LISTED = 10
PLATFORM = "the platform's libraries alone"
APP = "the functions, as every instance starts"
PROGRAMS = {
    PLATFORM: "import azure.functions, azurefunctions.extensions.http.fastapi",
    APP: "import function_app",
    "and the clients' libraries, with the first request": (
        "import function_app, azure.storage.queue.aio, azure.identity.aio; "
        "from azure.core.pipeline.transport import AioHttpTransport"
    ),
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
    """The best of several starts."""

    took_s: float
    cpu_s: float
    mebibytes: float


@dataclass(frozen=True)
class Imports:
    """The costs of each program, and the modules that cost the app most beside the platform's libraries, in ms.

    The ratio is the processor time of the import of the app, with these libraries, by that of these libraries alone.
    """

    starts: Mapping[str, Start]
    ratio: float
    dearest: Sequence[tuple[str, float]]


def measured() -> Imports:
    """Return what each program costs when its bytecode is already compiled."""
    turns = [{name: _once(program) for name, program in PROGRAMS.items()} for _ in range(TIMES + 1)][1:]
    # The first turn may have compiled.
    starts = {name: _best([turn[name] for turn in turns]) for name in PROGRAMS}
    ratio = statistics.median(turn[APP]["cpu_s"] / turn[PLATFORM]["cpu_s"] for turn in turns)
    return Imports(starts, ratio, dearest((_costs() for _ in range(TIMES)), LISTED))


def lines(imports: Imports) -> list[str]:
    """Return the measurements, one line each."""
    return [
        *(
            f"{name}: {start.took_s:.2f} s, of the processor {start.cpu_s:.2f} s, {start.mebibytes:.0f} MiB"
            for name, start in imports.starts.items()
        ),
        f"the functions take {imports.ratio:.2f} times the platform's libraries alone (aim: {AIM} times)",
        "the dearest modules beside the platform's libraries, ours by themselves, others with all that they import:",
        *(f"  {ms:5.1f} ms  {name}" for name, ms in imports.dearest),
    ]


def _best(starts: Sequence[Mapping[str, float]]) -> Start:
    took_s, cpu_s, size = (min(one[name] for one in starts) for name in ("took_s", "cpu_s", "bytes"))
    return Start(took_s, cpu_s, size / 2**20)


def _once(program: str) -> dict[str, float]:
    figures: dict[str, float] = json.loads(_run("-c", MEASURED.format(program=program)).stdout)
    return figures


def _costs() -> dict[str, int]:
    return costs(parse(_run("-X", "importtime", "-c", f"{PROGRAMS[PLATFORM]}\n{PROGRAMS[APP]}").stderr))


def _run(*arguments: str) -> "subprocess.CompletedProcess[str]":
    # If bytecode is not kept, Python compiles the app, though not its libraries, at every start.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, timeout=DEADLINE_S, check=True, text=True
    )


def main() -> None:
    """Print only these figures."""
    print("\n".join(lines(measured())))


if __name__ == "__main__":
    main()
