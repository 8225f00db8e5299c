"""The environments that some tests need besides their own."""

import os
from pathlib import Path
from typing import NoReturn

import pytest

from local.environments.catalogue import ENVIRONMENTS, LeftOut
from local.environments.installing import is_whole


def need(name: str) -> Path:
    """Return the folder of an environment. If it is not installed, skip the test on a laptop and fail it in CI."""
    try:
        environment = ENVIRONMENTS[name]()
    except LeftOut as missing:
        _without(name, str(missing))
    if not is_whole(environment):
        command = "make clients" if name.startswith("nightly-") else "make test"
        _without(name, f"`python -m local.environments {name}` installs it, and so does `{command}`")
    return environment.home


def _without(name: str, reason: str) -> NoReturn:
    text = f"the environment {name} is not installed: {reason}"
    if os.environ.get("CI") == "true":
        pytest.fail(text)
    pytest.skip(text)
