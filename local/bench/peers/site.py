"""A folder and the processes of a peer: its stores and programs, with a receiver and a model of ours."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import psutil

from local.bench.meters.usage import cpu_s, tree
from local.stack.process import PartError, Process

START_DEADLINE_S = 60.0
WORLD_READABLE = 0o755  # a database server may have to run as another user

Start = Callable[[], Process]


@dataclass
class Site:
    """What runs for one peer. `apps` are killed and started again by the kill run, and `stores` are not."""

    folder: Path
    cleanup: ExitStack
    apps: dict[str, tuple[Process, Start]] = field(default_factory=dict)
    stores: dict[str, Process] = field(default_factory=dict)
    others: dict[str, Process] = field(default_factory=dict)

    def part(self, name: str, *arguments: str) -> str:
        """Start a part of our own stack, `python -m local.<name>`, and return its address."""
        process = self._run(name, [sys.executable, "-m", f"local.{name}", *arguments], {})
        self.others[name] = process
        return process.url(START_DEADLINE_S)

    def store(
        self,
        name: str,
        command: Sequence[str],
        env: Mapping[str, str] | None = None,
        stop: signal.Signals = signal.SIGTERM,
    ) -> Process:
        """Start a store. `stop` is the signal that ends it."""
        self.stores[name] = self._run(name, command, env or {}, stop)
        return self.stores[name]

    def app(self, name: str, command: Sequence[str], env: Mapping[str, str]) -> str:
        """Start a program of the peer, and return the address that it announces."""

        def start() -> Process:
            return self._run(name, command, env)

        self.apps[name] = (start(), start)
        return self.apps[name][0].url(START_DEADLINE_S)

    def app_pids(self) -> list[int]:
        """Return the process ids of the peer's programs."""
        return [process.pid for process, _ in self.apps.values()]

    def store_cpu_s(self) -> float:
        """Return the processor time of the stores so far, in seconds."""
        return cpu_s([process.pid for process in self.stores.values()])

    def check(self) -> None:
        """Raise PartError if a process has ended."""
        for process in (*self.others.values(), *self.stores.values(), *(one for one, _ in self.apps.values())):
            process.check()

    def kill(self) -> None:
        """Kill the peer's programs, with every process that they started, at an arbitrary point."""
        for one in tree(self.app_pids()):
            with suppress(psutil.NoSuchProcess):
                one.kill()
        for process, _ in self.apps.values():
            process.stop()

    def restart(self) -> None:
        """Start the peer's programs again, at the same addresses, and return once they have announced them."""
        self.apps = {name: (start(), start) for name, (_, start) in self.apps.items()}
        for process, _ in self.apps.values():
            process.url(START_DEADLINE_S)

    def _run(
        self, name: str, command: Sequence[str], env: Mapping[str, str], stop: signal.Signals = signal.SIGTERM
    ) -> Process:
        process = Process(name, command, env=env, log=self.folder / f"{name}.log")
        self.cleanup.callback(_end, process, stop)
        return process


@contextmanager
def site() -> Iterator[Site]:
    """Yield an empty site. At the end of the block, its processes are stopped in reverse order."""
    with ExitStack() as cleanup:
        folder = Path(cleanup.enter_context(TemporaryDirectory(prefix="peer-", ignore_cleanup_errors=True)))
        folder.chmod(WORLD_READABLE)
        yield Site(folder, cleanup)


def needed(command: str, package: str, folders: Sequence[Path] = ()) -> str:
    """Return the path of a command. Raise PartError, which names Debian's package, if it is not installed."""
    places = [*(folder / command for folder in folders), *(Path(one) / command for one in os.get_exec_path())]
    found = next((str(place) for place in places if os.access(place, os.X_OK)), None)
    if found is None:
        raise PartError(command, f"it is not installed here. Debian has it in the package {package}")
    return found


def _end(process: Process, number: signal.Signals) -> None:
    """Stop a process, and then what it started and left behind."""
    with suppress(psutil.NoSuchProcess):
        started = psutil.Process(process.pid).children(recursive=True)
        process.stop(number=number)
        for one in started:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        return
    process.stop(number=number)
