"""Azurite in a container, through testcontainers."""

import gc
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import docker
import docker.errors
import httpx
import requests
from testcontainers.core.config import testcontainers_config
from testcontainers.core.container import DockerContainer

from local.azurite.emulator import FLAGS, SERVICES, Azurite
from local.stack.process import LOG_LINES, PartError

# The deadline for each answer of the Docker engine. A pull reports its progress more often than that.
ENGINE_DEADLINE_S = 60
PORTS = {"blob": 10_000, "queue": 10_001, "table": 10_002}
ANY_ADDRESS = [part for service in SERVICES for part in (f"--{service}Host", "0.0.0.0")]  # noqa: S104  (in the container)

# Ryuk removes what tests leave behind. It is one more image to pull, and close() leaves nothing behind.
testcontainers_config.ryuk_disabled = True


def engine_trouble(image: str) -> str | None:
    """Return why no container can run here, or None if a Docker engine answers. Pull the image if it is missing."""
    # If no engine answers, docker-py leaves its socket to the garbage collector.
    with warnings.catch_warnings(action="ignore", category=ResourceWarning):
        trouble = _trouble(image)
        gc.collect()
    return trouble


def _trouble(image: str) -> str | None:
    try:
        client = docker.from_env(timeout=ENGINE_DEADLINE_S)
    except docker.errors.DockerException as error:
        return str(error)
    try:
        _provide(client, image)
    except (docker.errors.DockerException, requests.RequestException) as error:
        return str(error)
    finally:
        client.close()
    return None


def _provide(client: docker.DockerClient, image: str) -> None:
    try:
        client.images.get(image)
    except docker.errors.ImageNotFound:
        client.images.pull(image)


class ContainerAzurite(Azurite):
    """Azurite in a container, on loopback only. Without a directory, its data is lost when the container is removed."""

    kind = "container"
    pid = None

    def __init__(self, accounts: Mapping[str, str], directory: Path | None, image: str) -> None:
        super().__init__(accounts)
        self._container = DockerContainer(image, docker_client_kw={"timeout": ENGINE_DEADLINE_S})
        self._container.with_command(["azurite", "--location", "/data", *ANY_ADDRESS, *FLAGS])
        self._container.with_envs(**self.env)
        bindings = {f"{PORTS[service]}/tcp": ("127.0.0.1", port) for service, port in self.ports.items()}
        # docker-py accepts an address with the port. The annotation of testcontainers allows only the port.
        self._container.ports.update(bindings)  # type: ignore[arg-type]
        self._created = False
        if directory:
            self._keep(directory / "data")

    def _keep(self, data: Path) -> None:
        data.mkdir(parents=True, exist_ok=True)
        self._container.with_volume_mapping(data.resolve(), "/data", "rw")
        if hasattr(os, "getuid"):  # on Windows, files have no owner of the container's kind
            self._container.with_kwargs(user=f"{os.getuid()}:{os.getgid()}")

    def _launch(self) -> None:
        try:
            if self._created:
                self._container.get_wrapped_container().start()
            else:
                self._container.start()
                self._created = True
        except (docker.errors.DockerException, requests.RequestException) as error:
            raise PartError("azurite", str(error)) from error

    def _is_ready(self) -> bool:
        self.check()
        return all(_answers(port) for port in self.ports.values())

    def stop(self) -> None:
        """Let Azurite write its data and exit. Connections are refused until the next start."""
        self._container.get_wrapped_container().stop(timeout=10)

    def close(self) -> None:
        """Stop Azurite and remove the container."""
        try:
            if self._created:
                self.stop()
        finally:
            self._container.stop()

    def check(self) -> None:
        """Raise PartError if the container is not running."""
        container = self._container.get_wrapped_container()
        container.reload()
        if container.status != "running":
            raise PartError("azurite", f"its container is {container.status}", self.log())

    def log(self) -> str:
        """Return the last lines that Azurite wrote."""
        lines: bytes = self._container.get_wrapped_container().logs(tail=LOG_LINES)
        return lines.decode(errors="replace")

    def cpu_s(self) -> float:
        """Return the processor time used since the latest start, in seconds."""
        stats = self._container.get_wrapped_container().stats(stream=False, one_shot=True)
        nanoseconds = cast("dict[str, Any]", stats)["cpu_stats"]["cpu_usage"]["total_usage"]
        return float(nanoseconds) / 1e9


def _answers(port: int) -> bool:
    try:
        httpx.get(f"http://127.0.0.1:{port}/", timeout=2.0, trust_env=False)
    except httpx.TransportError:
        return False
    return True
