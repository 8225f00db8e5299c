"""Runs an installer."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from local.environments.environment import SetupError

DEADLINE_S = 1_200
_OUTPUT = 4_000  # characters of the output that are shown


def run(name: str, command: Sequence[str], directory: Path | None = None) -> None:
    """Run an installer. Raise SetupError with the end of its output if it fails or takes over 20 minutes."""
    try:
        subprocess.run(
            command,
            cwd=directory,
            check=True,
            text=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=DEADLINE_S,
        )
    except FileNotFoundError:
        raise SetupError(f"{name}: {command[0]} is not installed") from None
    except subprocess.CalledProcessError as error:
        raise SetupError(f"{name}: {' '.join(command[:4])} failed:\n{error.stdout[-_OUTPUT:]}") from None
    except subprocess.TimeoutExpired:
        raise SetupError(f"{name}: {' '.join(command[:4])} did not end within {DEADLINE_S} s") from None
