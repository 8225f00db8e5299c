"""Makes the package of a deployment, before azd packs it: `python -m infra.hooks.prepackage`.

It has the files that .funcignore lets through, the locked libraries, and the bytecode of both. azd packs this folder,
and nothing is built in Azure.
"""

import argparse
import os
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path

from infra.hooks.bytecode import LIBRARIES, compile_package, interpreter, version_of_production
from infra.hooks.libraries import SITE, install
from infra.hooks.package import IGNORED, ROOT, PackageError, unpack

PACKAGE = ROOT / ".package"


def lay_out(package: Path, root: Path = ROOT) -> None:
    """Copy the deployed files of a project into an empty directory. Raise PackageError if it is not empty."""
    if package.exists() and any(package.iterdir()):
        raise PackageError(f"{package} is not empty.")
    unpack(package, root)
    # azd reads it in the package. Without it, azd leaves all bytecode out.
    shutil.copyfile(root / IGNORED, package / IGNORED)


def python_of_package(environment: Mapping[str, str], given: str = "") -> str:
    """Return the interpreter that compiles, or an empty string if the environment asks for no bytecode.

    Raises PackageError if there is none of the version that the app runs on.
    """
    if environment.get("PACKAGE_BYTECODE", "").lower() == "false":
        return ""
    return interpreter(version_of_production(), given or environment.get("PACKAGE_PYTHON", ""))


def make(package: Path, python: str, root: Path = ROOT) -> None:
    """Make the package in an empty directory, with the bytecode of an interpreter, or without if there is none.

    Libraries that the project brings along are taken as they are. Raises PackageError.
    """
    lay_out(package, root)
    if (package / LIBRARIES).is_dir():
        print(f"The libraries are those of {root / LIBRARIES}, as they are.", flush=True)
    else:
        print("Installing the locked libraries: half a minute.", flush=True)
        install(package / SITE, (python, sys.executable), version_of_production(), root / "requirements.txt")
    if python:
        print(compile_package(package, python), end="")


def main() -> int:
    """Make the package and print where it is. Return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.hooks.prepackage", description=__doc__)
    parser.add_argument("--python", default="", help="an interpreter of the version that the app runs on")
    parser.add_argument("--into", type=Path, help=f"an empty or new directory, instead of {PACKAGE.name}")
    given = parser.parse_args()
    try:
        python = python_of_package(os.environ, given.python)
        if given.into is None:
            shutil.rmtree(PACKAGE, ignore_errors=True)
        package = given.into or PACKAGE
        make(package.absolute(), python)
    except PackageError as error:
        print(f"The package is not made: {error}", file=sys.stderr)
        return 1
    kind = f"with bytecode of Python {version_of_production()}" if python else "without bytecode"
    print(f"The package is in {package}, {kind}.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
