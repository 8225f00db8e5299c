"""One fault to plant in a file of the infrastructure, which a check must find."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Mutant:
    """One fault: `new` replaces the first occurrence of `old` in a file.

    The check `finder` must report it, when it looks at these variants.
    """

    name: str
    path: str
    old: str
    new: str
    finder: str
    variants: tuple[str, ...] = ("everything",)


def path_of(module: str) -> str:
    """Return the path of a Bicep file by its short name, such as `storage`."""
    return "infra/main.bicep" if module == "main" else f"infra/modules/{module}.bicep"
