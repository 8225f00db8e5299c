"""Asks for the upstream's secrets and writes them to the vault, after `azd provision` and before the app starts.

A secret comes from `azd env set-secret`, or from a prompt that shows nothing. It is never printed or an argument.
"""

import getpass
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import Optional

from infra.hooks.places import Place, in_pipeline
from infra.hooks.vault import holds, write

PROMPT_S = 300
MOST = 25_000  # characters of a secret, which the vault takes at most: 25 kB
REFERENCES = ("akvs://", "@Microsoft.KeyVault(")  # what stands for a secret where nobody has read it


class SecretError(Exception):
    """A secret is missing or cannot be one. The text names it, and what to do. It does not have the secret."""


@dataclass(frozen=True)
class Secret:
    """A secret of the upstream: its name in the vault, and what people call it.

    `switch` is the value of azd's environment that says that the vault holds it, and `variable` the one that has it.
    """

    switch: str
    name: str
    variable: str
    called: str


SECRETS = (
    Secret("UPSTREAM_API_KEY_IN_VAULT", "upstream-api-key", "UPSTREAM_API_KEY", "The upstream's API key"),
    Secret("UPSTREAM_WEBHOOKS", "upstream-webhook-secret", "UPSTREAM_WEBHOOK_SECRET", "The upstream's webhook secret"),
    Secret("UPSTREAM_KEYS_IN_VAULT", "upstream-keys", "UPSTREAM_KEYS", "The keys of the upstreams, a JSON object"),
)


def ensure(where: Place, environment: Mapping[str, str], ask: "Callable[[str], str]") -> "list[str]":
    """Write the secrets that the vault is to hold and lacks, and return the names of those that were written.

    `ask` asks a person, with a text. Raises SecretError if a secret cannot be had, and AzureError.
    """
    written = []
    for secret in SECRETS:
        if not is_wanted(secret, environment) or holds(where.vault, secret.name):
            continue
        value = given(secret, environment) or checked(secret, ask(secret.called))
        write(where.vault, secret.name, value, "text/plain")
        written.append(secret.name)
    return written


def is_wanted(secret: Secret, environment: Mapping[str, str]) -> bool:
    """Return whether the vault is to hold a secret."""
    return environment.get(secret.switch, "").lower() == "true"


def given(secret: Secret, environment: Mapping[str, str]) -> str:
    """Return the secret that azd's environment has, or an empty string.

    azd gives a hook the name of the variable in place of its value, where it is not set.
    """
    value = environment.get(secret.variable, "").strip()
    return "" if value in ("", secret.variable) else checked(secret, value)


def checked(secret: Secret, value: str) -> str:
    """Return the value without white space around it. Raise SecretError if it cannot be the secret."""
    value = value.strip()
    if not value or len(value) > MOST or not (value.isascii() and value.isprintable()):
        raise SecretError(f"{secret.called} must be one line of printable ASCII, at most {MOST} characters long")
    if value.startswith(REFERENCES):
        raise SecretError(f"{secret.variable} has a reference to a secret, and azd did not read it")
    return value


def asking(environment: Mapping[str, str]) -> "Callable[[str], str]":
    """Return a function that asks at the terminal without showing what is typed, for a bounded time.

    Where nobody can be asked, it raises SecretError.
    """

    def ask(called: str) -> str:
        if in_pipeline(environment) or not sys.stdin.isatty():
            raise SecretError(f"{called} is not in the vault, and nobody can be asked here")
        with_alarm = hasattr(signal, "SIGALRM")  # not on Windows
        if with_alarm:
            signal.signal(signal.SIGALRM, _late)
            signal.alarm(PROMPT_S)
        try:
            return getpass.getpass(f"{called} (not shown, within {PROMPT_S} s): ")
        except EOFError:
            raise SecretError(f"{called} was not given") from None
        finally:
            if with_alarm:
                signal.alarm(0)

    return ask


def _late(_number: int, _frame: Optional[FrameType]) -> None:  # noqa: UP045 - Python 3.9 has no other way
    raise SecretError(f"Nothing was typed within {PROMPT_S} s")


def mending(environment: Mapping[str, str]) -> str:
    """Return how to give the secrets without a prompt, and from a pipeline also how to give them with one.

    An environment that is made elsewhere does not know what the vault is to hold, because azd refreshes outputs only.
    """
    wanted, name = [one for one in SECRETS if is_wanted(one, environment)], environment.get("AZURE_ENV_NAME", "")
    hook = f"azd hooks run postprovision --environment {name}"
    if not in_pipeline(environment):
        commands = [f"azd env set-secret {one.variable} --environment {name}" for one in wanted]
        return _lines("Store it, then run the hook again:", *commands, hook)
    given = _lines("Give it to the pipeline, and run that again:", *(f"gh secret set {one.variable}" for one in wanted))
    asked = _lines(
        "Or write it where somebody can be asked. This also makes the first caller. Then run the pipeline again:",
        f"azd env new {name}; azd env refresh --environment {name}",
        *(f"azd env set {one.switch} true --environment {name}" for one in wanted),
        hook,
    )
    return f"{given}\n{asked}"


def _lines(first: str, *commands: str) -> str:
    return "\n".join([first, *(f"  {command}" for command in commands)])
