"""The choice between a container and npm for Azurite, and the accounts that it starts with."""

import base64
import json
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from local.azurite.container import ContainerAzurite, engine_trouble
from local.azurite.emulator import Azurite
from local.azurite.npm import NpmAzurite
from local.credentials.keys import kept_text
from local.locks import lock_now
from local.stack.process import ROOT, PartError

VERSION: str = json.loads((ROOT / "package.json").read_text())["dependencies"]["azurite"]
IMAGE = f"mcr.microsoft.com/azure-storage/azurite:{VERSION}"
ACCOUNTS = 2_000  # one for each test of a run in one process; more would not fit into one environment variable


@contextmanager
def azurite(directory: Path | None = None, kind: str | None = None) -> Iterator[Azurite]:
    """Run Azurite until the end of the block.

    A directory keeps its data, and its accounts in the same order, for the next run. `kind`, or AZURITE in the
    environment, forces "container" or "npm". By default, it runs in a container if a Docker engine answers, otherwise
    from npm. With CI=true, npm does not replace a missing engine.
    """
    with _only_user(directory):
        yield from _running(directory, kind)


@contextmanager
def _only_user(directory: Path | None) -> Iterator[None]:
    """Keep a second Azurite off the directory, because each would overwrite the other's data."""
    if directory is None:
        yield
        return
    directory.mkdir(parents=True, exist_ok=True)
    with (directory / "lock").open("w") as lock:
        try:
            lock_now(lock)
        except BlockingIOError:
            raise PartError("azurite", f"{directory} is in use by another Azurite") from None
        yield


def _running(directory: Path | None, kind: str | None) -> Iterator[Azurite]:
    accounts: dict[str, str] = json.loads(kept_text(directory and directory / "accounts.json", _new_accounts))
    forced = kind or os.environ.get("AZURITE")
    chosen = choose(forced, in_ci=os.environ.get("CI") == "true", engine_trouble=lambda: engine_trouble(IMAGE))
    with (
        TemporaryDirectory(prefix="azurite-") as temporary,
        closing(
            ContainerAzurite(accounts, directory, IMAGE)
            if chosen == "container"
            else NpmAzurite(accounts, directory or Path(temporary))
        ) as storage,
    ):
        storage.start()
        yield storage


def choose(forced: str | None, *, in_ci: bool, engine_trouble: Callable[[], str | None]) -> str:
    """Return "container" or "npm". Raise PartError if a required container cannot run or `forced` is unknown."""
    if forced == "npm":
        return "npm"
    if forced not in {None, "", "container"}:
        raise PartError("azurite", f"AZURITE is {forced!r}; it may be container or npm")
    trouble = engine_trouble()
    if trouble and (forced or in_ci):
        raise PartError("azurite", f"no container: {trouble}")
    return "npm" if trouble else "container"


def _new_accounts() -> str:
    return json.dumps({f"local{number:04}{secrets.token_hex(2)}": _new_key() for number in range(ACCOUNTS)})


def _new_key() -> str:
    return base64.b64encode(secrets.token_bytes(32)).decode()
