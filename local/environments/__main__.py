"""Installs environments: `python -m local.environments [--storage] NAME ...`.

With `--storage`, the command that follows starts the storage emulator.
"""

import sys

from local.environments.catalogue import ENVIRONMENTS, LeftOut
from local.environments.environment import Environment, SetupError
from local.environments.installing import ensure
from local.environments.preconditions import lacks

STORAGE = "--storage"


def main(names: list[str]) -> int:
    """Install the named environments that are not installed yet. Return the exit code.

    If this machine lacks something, one line says so, and nothing is installed.
    """
    if lack := lacks(storage=STORAGE in names):
        print(lack, file=sys.stderr)
        return 1
    for name in (name for name in names if name != STORAGE):
        try:
            ensure(_environment(name))
        except LeftOut as reason:
            print(f"{name} is left out: {reason}")
        except SetupError as error:
            print(f"setting up failed: {error}", file=sys.stderr)
            return 1
    return 0


def _environment(name: str) -> Environment:
    if name not in ENVIRONMENTS:
        raise SetupError(f"there is no environment {name!r}, only {', '.join(ENVIRONMENTS)}")
    return ENVIRONMENTS[name]()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
