"""What the drivers for Python share: they run cases of the table and print what their client showed.

    python -m tests.clients.drivers.NAME CASE=http://KEY@HOST:PORT/v1 ...

Each case of cases.json has a way to ask, a model and perhaps a time-out. The cases of the command line run at the same
time, each at its own URL. The program prints one JSON object: the client's version and, in the order of the arguments,
what the client showed.
"""

import asyncio
import inspect
import json
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import urlsplit

Json: TypeAlias = dict[str, Any]

# No other run sends these bytes. A repeat of equal bytes may get the answer to an earlier call.
PROMPT = f"Whales sing {time.time_ns()}."
PLACE = "Oslo"
NOT_OFFERED = "the client has no such call"
CASES: Json = json.loads(Path(__file__).with_name("cases.json").read_text(encoding="utf-8"))


@dataclass(frozen=True)
class Call:
    """One call: where it goes, for which model, and the client's own time-out in seconds, or None for its default.

    A stream adds each piece of its text to `heard`, so that the report has what came before an exception.
    """

    url: str
    key: str
    model: str
    timeout_s: float | None = None
    heard: list[str] = field(default_factory=list)

    @property
    def options(self) -> Json:
        """The arguments of an OpenAI SDK, and of the clients that pass them on."""
        patience = {} if self.timeout_s is None else {"timeout": self.timeout_s}
        return {"base_url": self.url, "api_key": self.key, **patience}


@dataclass(frozen=True)
class Shown:
    """What a client showed: the text of the answer, what it calls the state of the response, and its exception."""

    text: str
    status: str | None = None
    error: str | None = None


Way: TypeAlias = Callable[[Call], Shown | Awaitable[Shown]]


def get_weather(place: str) -> str:
    """Return the weather of a place."""
    return f"It snows in {place}."


def drive(package: str, **ways: Way) -> None:
    """Run the cases that the command line names, and print the report. The package gives the version."""
    shown = asyncio.run(_all(ways, sys.argv[1:]))
    json.dump({"version": version(package), "shown": [asdict(one) for one in shown]}, sys.stdout)


async def _all(ways: Mapping[str, Way], wanted: list[str]) -> list[Shown]:
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(len(wanted)))
    return await asyncio.gather(*(_one(ways, *one.split("=", 1)) for one in wanted))


async def _one(ways: Mapping[str, Way], case: str, url: str) -> Shown:
    """Run a case. Blocking clients run in threads."""
    parts, asked = urlsplit(url), CASES[case]
    url = parts._replace(netloc=f"{parts.hostname}:{parts.port}").geturl()
    call = Call(url, parts.username or "", asked["model"], asked.get("timeout_s"))
    if (way := ways.get(asked["way"])) is None:
        return Shown("", error=NOT_OFFERED)
    try:
        shown = await asyncio.to_thread(way, call)
        return await shown if inspect.isawaitable(shown) else shown
    except Exception as error:  # noqa: BLE001 - this program reports any exception
        return Shown("".join(call.heard), error=f"{type(error).__name__}: {error}")
