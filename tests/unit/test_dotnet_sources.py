"""The C# that needs .NET's SDK is, byte for byte, what was compiled with it. There is no such SDK in the tests.

`dotnet publish` compiled these files on another machine. After a change, compile them again, run them, and write down
their new hashes here.
"""

import hashlib

import pytest

from local.stack.process import ROOT

COMPILED = {
    "examples/dotnet/Program.cs": "a40c4e5c12ca8b016f58ffe1f86d833c90170165784dec5fb81a3c69357aa50b",
    "examples/dotnet/BackgroundResponses.csproj": "8aa37ab1ecae116a38d1433bed4f08c58db1044673f11a06768866a58bffef4c",
    "tests/clients/dotnet/Program.cs": "59ff12af9db6541bbb1446fb5b09b0af29b0f51af59ac67a59eda8078a592440",
    "tests/clients/dotnet/Flows.cs": "2f1a2db66bb251a577909d682ec57d3b1e1fb6d02dee62c6a3cd73c6b1976792",
    "tests/clients/dotnet/Kit.cs": "05d509cabd85d9084fa6844c16fdbbb6a02070a00fde94b9cd7b8f9934f6c8c1",
    "tests/clients/dotnet/flows.csproj": "ae53987db06b6eda679a21d695bfccc69665f46990ac5c5cd29d6dc7ff221dc2",
}
"""Each file with its SHA-256, in hex."""


@pytest.mark.parametrize("name", COMPILED)
def test_a_source_is_the_one_that_was_compiled(name: str) -> None:
    """An edit that nobody has compiled is found."""
    assert hashlib.sha256((ROOT / name).read_bytes()).hexdigest() == COMPILED[name]


def test_every_source_of_dotnet_is_named() -> None:
    """None is left out."""
    found = (path for folder in ("examples", "tests") for path in (ROOT / folder).rglob("*.cs*"))
    sources = {path.relative_to(ROOT).as_posix() for path in found if path.suffix in (".cs", ".csproj")}
    assert {one for one in sources if not {"bin", "obj"} & set(one.split("/"))} == COMPILED.keys()
