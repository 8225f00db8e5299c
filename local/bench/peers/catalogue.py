"""The peers that the benchmark knows, and how each one is run."""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx

from local.bench.loads.target import PROMPT, Streams, Target, Upstream
from local.bench.peers.apps import retries
from local.bench.peers.site import START_DEADLINE_S, Site, site
from local.bench.peers.stores import postgres, redis, version
from local.environments.catalogue import BENCH_PEERS, ENVIRONMENTS
from local.environments.environment import SetupError
from local.environments.installing import ensure
from local.stack.ports import free_port
from local.stack.process import PartError, Process, wait_for

APPS = "local.bench.peers.apps"
HELD = "HELD_S"
CELERY_PROCESSES, CELERY_PROCESSES_HELD = 2, 16  # a held call holds a process
Starts = Callable[[Site, Path, Mapping[str, str]], str]
"""Starts a peer at a site with the Python of its environment and its settings. Returns the URL for create calls."""


@dataclass(frozen=True)
class Peer:
    """A system that does the same work, in its own environment."""

    name: str
    starts: Starts
    store: Callable[[], str]
    configured: str = ""
    waits: Callable[[], Sequence[float]] = retries.steady
    id_field: str = "id"
    streams: Callable[[str], Streams] | None = None

    @property
    def about(self) -> str:
        """The versions of its package and its store."""
        return f"{requirement(self.name)} with {self.store()}"

    @property
    def retry_waits_s(self) -> Sequence[float]:
        """How long its program waits after each failed attempt to call back, in seconds."""
        return self.waits()

    @contextmanager
    def open(self, upstream: Upstream = PROMPT) -> Iterator[Target]:
        """Run it with a receiver and a model of ours. Raise PartError if it cannot run here."""
        python = installed(f"bench-{self.name}") / "bin" / "python"
        with site() as running:
            receiver_url = running.part("stack.receiver")
            model_url = running.part("model", "--port", "0").removesuffix("/v1")
            create_url = self.starts(running, python, {"MODEL_URL": model_url, HELD: str(upstream.held_s)})
            yield Target(
                create_url=create_url,
                headers={},
                receiver_url=receiver_url,
                model_url=model_url,
                signs=False,
                app_pids=running.app_pids,
                store_cpu_s=running.store_cpu_s,
                check=running.check,
                kill=running.kill,
                restart=running.restart,
                id_field=self.id_field,
                streams=self.streams(create_url) if self.streams else None,
            )


def installed(name: str) -> Path:
    """Return the folder of an environment, which is installed first if need be. Raise PartError if that fails."""
    try:
        environment = ENVIRONMENTS[name]()
        ensure(environment)
    except SetupError as error:
        raise PartError(name, f"its environment cannot be installed: {error}") from error
    return environment.home


def requirement(name: str) -> str:
    """Return the first requirement of a peer's environment, with its version."""
    lines = (BENCH_PEERS / "environments" / f"{name}.txt").read_text(encoding="utf-8").splitlines()
    return next(line for line in lines if not line.startswith("#")).replace("==", " ")


def _procrastinate(running: Site, python: Path, env: Mapping[str, str]) -> str:
    settings = {**env, "DATABASE": postgres(running), "PORT": str(free_port())}
    command = [str(python), "-m", f"{APPS}.procrastinate_app"]
    _prepare(running, "schema", [*command, "schema"], settings)
    running.app("worker", [*command, "worker"], settings)
    return f"{running.app('front', [*command, 'front'], settings)}/responses"


def _celery(running: Site, python: Path, env: Mapping[str, str]) -> str:
    settings = {**env, "BROKER": redis(running), "PORT": str(free_port())}
    processes = CELERY_PROCESSES_HELD if float(env[HELD]) else CELERY_PROCESSES
    worker = ["worker", "--loglevel", "WARNING", f"--concurrency={processes}", "--without-gossip", "--without-mingle"]
    running.app("worker", [str(python), "-m", f"{APPS}.celery_app", *worker], settings)
    return f"{running.app('front', [str(python), '-m', f'{APPS}.celery_app', 'front'], settings)}/responses"


def _dbos(running: Site, python: Path, env: Mapping[str, str]) -> str:
    settings = {**env, "DATABASE": postgres(running), "PORT": str(free_port())}
    return f"{running.app('front', [str(python), '-m', f'{APPS}.dbos_app'], settings)}/responses"


def _restate(running: Site, python: Path, env: Mapping[str, str]) -> str:
    server = installed("restate-server") / ".bin" / "restate-server"
    ingress, admin, node = free_port(), free_port(), free_port()
    settings = {
        "RESTATE_INGRESS__BIND_ADDRESS": f"127.0.0.1:{ingress}",
        "RESTATE_ADMIN__BIND_ADDRESS": f"127.0.0.1:{admin}",
        "RESTATE_BIND_ADDRESS": f"127.0.0.1:{node}",
        "RESTATE_ADVERTISED_ADDRESS": f"http://127.0.0.1:{node}",
        "RESTATE_DISABLE_TELEMETRY": "true",
        "DO_NOT_TRACK": "1",
    }
    command = [str(server), "--base-dir", str(running.folder / "restate"), "--node-name", "bench"]
    process = running.store("restate", command, env=settings)
    _answering(f"http://127.0.0.1:{admin}/health", process)
    service = running.app("service", [str(python), "-m", f"{APPS}.restate_app"], {**env, "PORT": str(free_port())})
    _register(f"http://127.0.0.1:{admin}/deployments", service, process)
    return f"http://127.0.0.1:{ingress}/Work/run/send"


def _register(url: str, service: str, process: Process) -> None:
    """Tell the server of the service as soon as the service answers."""
    answer = "no answer"

    def is_registered() -> bool:
        nonlocal answer
        found = httpx.post(url, json={"uri": service}, timeout=START_DEADLINE_S, trust_env=False)
        answer = f"{found.status_code} {found.text}"
        return found.is_success

    if not wait_for(is_registered, START_DEADLINE_S):
        raise process.failure(f"it did not register the service: {answer}")


def _answering(url: str, process: Process) -> None:
    def answers() -> bool:
        process.check()
        try:
            return httpx.get(url, timeout=1.0, trust_env=False).is_success
        except httpx.TransportError:
            return False

    if not wait_for(answers, START_DEADLINE_S):
        raise process.failure(f"not ready after {START_DEADLINE_S:g} s")


def _prepare(running: Site, name: str, command: list[str], env: Mapping[str, str]) -> None:
    """Run a program of the peer to its end. Raise PartError with the end of its log if it fails."""
    process = Process(name, command, env=env, log=running.folder / f"{name}.log")
    try:
        if process.wait(START_DEADLINE_S) != 0:
            raise process.failure("it failed")
    finally:
        process.stop()


def _postgres_version() -> str:
    return version("postgres", "postgresql")


def _redis_version() -> str:
    return version("redis-server", "redis-server")


def _restate_version() -> str:
    packages = json.loads((BENCH_PEERS / "restate" / "package.json").read_text(encoding="utf-8"))["dependencies"]
    return ", ".join(f"{name} {number}" for name, number in packages.items())


def _dbos_streams(create_url: str) -> Streams:
    return Streams(create_url, lambda name, after: f"{create_url}/{name}?starting_after={after}")


PEERS = (
    Peer(
        "procrastinate",
        _procrastinate,
        _postgres_version,
        "Each call is a job, tried again after 1 s, ten times. Jobs of a worker without a heartbeat for 30 s (its "
        "default) are started again by the periodic task of its manual, here every 10 s",
    ),
    Peer(
        "celery",
        _celery,
        _redis_version,
        "Each call is a task, tried again after 1 s, ten times. task_acks_late, task_reject_on_worker_lost, "
        "visibility_timeout 35 s (a call may take 30 s), unacked_restore_interval 5 s, unacked_restore_throttle 1. "
        f"{CELERY_PROCESSES} processes, or {CELERY_PROCESSES_HELD} where the model holds its answers",
    ),
    Peer(
        "dbos",
        _dbos,
        _postgres_version,
        "Each call is a step, tried again after 1, 2, 4 s and so on, up to ten attempts. Its launch recovers pending "
        "workflows. A stream is one of its durable streams, written by a step",
        waits=retries.of_dbos,
        streams=_dbos_streams,
    ),
    Peer(
        "restate",
        _restate,
        _restate_version,
        "Each call is a run of its journal, with the server's default retries: after 0.5, 1, 2 s and so on up to 60 s, "
        "70 attempts. Its server is not killed",
        waits=retries.of_restate,
        id_field="invocationId",
    ),
)
